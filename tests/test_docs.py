"""Documents that are run: every Python block and example, every YAML block through the reader, every link, the catalogue."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from antivenom.auditing.catalogue import page
from antivenom.auditing.plan import plan_of
from antivenom.core.registry import entries

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "docs" / "index.md", *sorted((ROOT / "docs").glob("guide/*.md"))]
DOCUMENTS = [*PAGES, *sorted((ROOT / "docs").glob("design/*.md")), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]


def blocks(language: str) -> list[pytest.param]:  # type: ignore[valid-type]
    found = []
    for path in PAGES:
        texts = re.findall(rf"```{language}\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
        found += [pytest.param(text, id=f"{path.name}-{i}") for i, text in enumerate(texts)]
    return found


@pytest.mark.parametrize("code", blocks("python"))
def test_python_blocks_run(code: str, capsys, plugins: None) -> None:
    exec(compile(code, "block", "exec", dont_inherit=True), {"__name__": "block"})  # noqa: S102 - our own documents
    assert capsys.readouterr().out


@pytest.mark.parametrize("text", blocks("yaml"))
def test_yaml_blocks_are_scenarios(text: str) -> None:
    assert plan_of(text, "block").cells


@pytest.mark.parametrize("script", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_examples_run(script: Path, capsys, plugins: None) -> None:
    assert len(script.read_text().splitlines()) <= 30
    runpy.run_path(str(script), run_name="__main__")
    assert capsys.readouterr().out.count("\n") >= 3


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_inside_the_project_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
        if not target.startswith("catalogue/"):  # generated
            assert (path.parent / target).exists() or (ROOT / target).exists(), target


def test_everything_has_a_page() -> None:
    for name in (entry.name for entry in entries()):
        text = page(name)
        assert name in text
        assert "object at 0x" not in text


def test_every_kind_has_its_place_in_the_catalogue_of_the_site() -> None:
    site = runpy.run_path(str(ROOT / "docs" / "catalogue.py"))
    for entry in entries():
        assert entry.name in site["page"](entry)


def test_the_site_is_built_without_network_and_fetches_nothing(tmp_path: Path) -> None:
    if shutil.which("mkdocs", path=str(Path(sys.executable).parent)) is None:
        pytest.skip("mkdocs is not installed: make docs installs it")
    for part in ("docs", "mkdocs.yml"):
        source = ROOT / part
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / part)
    environment = os.environ | {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    for command in (["docs/catalogue.py"], ["-m", "mkdocs", "build", "--strict", "--quiet"]):
        done = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    for entry in entries():
        if entry.origin == "antivenom":
            built = (tmp_path / "site" / "catalogue" / f"{entry.name}.html").read_text()
            assert entry.about.split(":")[0][:20] in built
    for html in (tmp_path / "site").rglob("*.html"):
        fetched = re.findall(
            r'<(?:script|img|iframe)[^>]+src="(https?:[^"]+)"|<link[^>]+href="(https?:[^"]+)"', html.read_text()
        )
        assert fetched == []
