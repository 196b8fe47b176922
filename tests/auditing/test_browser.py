"""The report in a real browser: Chromium loads it, shows it at every width, in light and dark, and reports no fault."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hand_made import every_state

from antivenom.auditing.report import render
from antivenom.cli import run

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None or DRIVER is None, reason="no Chromium with its driver on this machine"),
]
SCENARIO = """
version: 1
name: in the browser
seeds: 2
limits: {targeted: 0.05}  # so that two seeds show a breach
scenarios:
  - kind: federated
    federation: {num_agents: 5, rounds: 3, training: {epochs: 2, batch_size: 20, learning_rate: 0.01}}
    model: {name: MLP, hidden: [16]}
    attacks: [{name: ExplicitBoosting, learning_rate: 0.02, steps: 10}]
    defences: [Krum]
"""


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The page of a real audit, run by the command line, and its JSON."""
    folder = tmp_path_factory.mktemp("browser")
    (folder / "scenario.yaml").write_text(SCENARIO)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert run(["audit", str(folder / "scenario.yaml"), "--out", str(folder / "out"), "--jobs", "1", "--json"]) == 0
    return folder / "out" / "report.html", json.loads(said.getvalue())


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = str(BROWSER)
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield driver
    driver.quit()


def shown(browser: Any, page: Path, width: int = 1280, scheme: str = "light", media: str = "screen") -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    )
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
    browser.get(page.as_uri())


def test_it_shows_the_same_numbers_as_the_json_and_asks_for_nothing(browser: Any, audited: Any) -> None:
    page, document = audited
    shown(browser, page)
    assert browser.find_element("css selector", "h1").text == "in the browser"
    trials = ", ".join(f"{name} {number}" for name, number in document["trials"].items())
    assert browser.find_element("id", "trials").text == trials
    for state in ("BREACHED", "HELD", "INCONCLUSIVE"):
        number = sum(cell["state"] == state for cell in document["cells"])
        assert browser.find_element("id", f"count-{state}").text == str(number)
    assert browser.get_log("browser") == []  # no error, no violated policy
    sent = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {m["params"]["request"]["url"] for m in sent if m["method"] == "Network.requestWillBeSent"}
    assert {url for url in asked if not url.startswith(("data:", "chrome:", "about:"))} == {page.as_uri()}


@pytest.mark.parametrize("width", [320, 480, 768, 1280, 2560])
def test_the_page_is_never_wider_than_the_window(browser: Any, audited: Any, width: int) -> None:
    shown(browser, audited[0], width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_light_and_dark_can_be_read(browser: Any, audited: Any) -> None:
    papers = {}
    for scheme in ("light", "dark"):
        shown(browser, audited[0], scheme=scheme)
        papers[scheme] = browser.execute_script(CONTRAST)
        low = [(text, ratio) for text, ratio in papers[scheme]["contrast"] if ratio < 4.5]
        assert low == [], scheme
    assert papers["light"]["paper"] != papers["dark"]["paper"]


CONTRAST = """
const rgb = c => c.match(/[\\d.]+/g).map(Number);
const lum = c => { const [r, g, b] = rgb(c).map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  return .2126 * r + .7152 * g + .0722 * b; };
const paper = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (rgb(c)[3] !== 0) return c; } };
const contrast = [];
for (const e of document.querySelectorAll('p, h1, h2, h3, th, td, dt, dd, span, a, caption, summary, li, code, footer')) {
  if (!e.offsetParent || !e.textContent.trim()) continue;
  const [a, b] = [lum(getComputedStyle(e).color), lum(paper(e))].sort((x, y) => y - x);
  contrast.push([e.tagName + ' ' + e.textContent.trim().slice(0, 30), (a + .05) / (b + .05)]);
}
return {paper: getComputedStyle(document.body).backgroundColor, contrast};
"""


def test_figures_are_visible_and_named(browser: Any, audited: Any) -> None:
    shown(browser, audited[0])
    figures = browser.find_elements("css selector", "figure > svg")
    assert len(figures) == 2
    for figure in figures:
        assert figure.size["width"] > 300
        assert figure.size["height"] > 100
        assert figure.accessible_name


def test_it_prints_in_light_colours_with_every_part_open(browser: Any, audited: Any) -> None:
    shown(browser, audited[0], width=718, scheme="dark", media="print")  # A4 less its margins
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 718
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    hidden = browser.execute_script(
        "return [...document.querySelectorAll('details:not(.screen)')].filter(d => d.children[1].getBoundingClientRect().height == 0).length"
    )
    assert hidden == 0


def test_it_is_complete_without_style(browser: Any, audited: Any) -> None:
    shown(browser, audited[0])
    browser.execute_script("document.querySelector('style').remove()")
    words = browser.find_element("tag name", "main").text
    for part in ("What an attacker can do", "Coverage", "Worst case in full", "Method and limits", "Appendix"):
        assert part in words


AXE = Path(os.environ.get("AXE_CORE", "axe.min.js"))
RUN_AXE = """
const done = arguments[arguments.length - 1];
axe.run(document, {resultTypes: ["violations"]})
  .then(found => done(found.violations.map(v => [v.id, v.nodes.map(n => n.html.slice(0, 200))])));
"""


@pytest.mark.skipif(not AXE.is_file(), reason="no axe-core: npm pack axe-core, and set AXE_CORE to its axe.min.js")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_core_finds_no_violation(browser: Any, states: Path, width: int, scheme: str) -> None:
    shown(browser, states, width, scheme)
    browser.execute_script("document.querySelectorAll('details').forEach(part => part.open = true)")
    browser.execute_script(AXE.read_text(encoding="utf-8"))
    assert browser.execute_async_script(RUN_AXE) == []


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of records made by hand, with every state and every section that has a table."""
    path = tmp_path_factory.mktemp("states") / "report.html"
    path.write_text(render(every_state()), encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [390, 320])
def test_no_table_is_wider_than_a_phone(browser: Any, states: Path, width: int) -> None:
    shown(browser, states, width)
    wide = browser.execute_script(
        "document.querySelectorAll('details').forEach(part => part.open = true);"
        "const page = document.documentElement.clientWidth;"
        "return [...document.querySelectorAll('table')]"
        ".filter(table => table.getBoundingClientRect().right > page || table.scrollWidth > page)"
        ".map(table => table.caption.textContent)"
    )
    assert wide == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_the_filter_of_the_matrix_works_without_script(browser: Any, states: Path) -> None:
    shown(browser, states)

    def rows() -> list[str]:
        found = browser.find_elements("css selector", ".pairs tbody tr")
        return [row.find_element("tag name", "th").text.split("\n")[0] for row in found if row.is_displayed()]

    assert len(rows()) == 7
    browser.find_element("css selector", "label[for=show-INCONCLUSIVE]").click()
    assert rows() == ["BadNets, 1% of rows", "Open"]
    browser.find_element("css selector", "label[for=show-other]").click()
    assert sorted(rows()) == ["Absent", "Failed", "Refused"]
