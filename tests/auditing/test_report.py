"""The page says what the records say, nothing else, and nothing in it can run, load or break out."""

from __future__ import annotations

import html.parser
import itertools
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from antivenom.auditing.executors import serial
from antivenom.auditing.plan import plan_of
from antivenom.auditing.records import Store
from antivenom.auditing.report import render, write_report
from antivenom.auditing.report.replay import replay
from antivenom.auditing.results import State, Summary
from antivenom.auditing.run import audit
from antivenom.auditing.summary import summarise
from antivenom.auditing.trial import run_trial
from antivenom.cli import run
from antivenom.core.errors import StoreError

TEXT = """
version: 1
name: two levels
seeds: 2
limits: {backdoor: 0.05, targeted: 0.02}
scenarios:
  - kind: federated
    name: small federation
    federation: {num_agents: 5, rounds: 3, training: {epochs: 2, batch_size: 20, learning_rate: 0.01}}
    model: {name: MLP, hidden: [16]}
    attacks: [{name: ExplicitBoosting, learning_rate: 0.02}, DirtyLabel]
    defences: [Krum, AccuracyCheck]
  - kind: central
    name: patched
    model: {name: MLP, hidden: [32]}
    training: {epochs: 15, learning_rate: 0.01}
    attacks: [BadNets]
    defences: [KNNSanitizer]
"""
BANNED = ("secure", "safe", "immune", "proven robust", "guaranteed", "compliant", "risk score")


class Page(html.parser.HTMLParser):
    """What a reader without style sheet meets: tags with attributes, and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.said: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "br", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.said.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.said))


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the records of a real small audit."""
    folder = tmp_path_factory.mktemp("report")
    with Store(folder, write=True) as store:
        for _ in audit(plan_of(TEXT, "two.yaml"), store, serial, run_trial, "antivenom audit two.yaml"):
            pass
    return folder


def summary_of(folder: Path) -> Summary:
    store = Store(folder)
    return summarise(store.plan(), store.trials(), store.foreign())


def rewritten(folder: Path, target: Path, change: Any) -> Summary:
    """The summary of the records after `change(record)`; None drops the record."""
    target.mkdir()
    lines = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    kept = [record for record in map(change, lines) if record is not None]
    (target / "records.jsonl").write_text("".join(json.dumps(record) + "\n" for record in kept))
    return summary_of(target)


def test_the_page_is_whole_and_says_what_the_summary_says(audited: Path) -> None:
    path = write_report(audited)
    summary = summary_of(audited)
    page = Page(path.read_text())
    assert page.open == []
    assert path.stat().st_size < 300_000
    for level in summary.levels:
        assert level.level in page.text
    for state in State:
        assert str(state) in page.text
    for cell in summary.attacks:
        assert cell.attack.split("(")[0] in page.text
        assert all(key in page.text for key in cell.keys)
    counts = ", ".join(f"{name} {number}" for name, number in summary.trials.items())
    assert counts in page.text


def test_the_state_counts_add_up_to_the_pairs(audited: Path) -> None:
    text = render(summary_of(audited))
    counted = {name: int(number) for name, number in re.findall(r'id="count-([\w-]+)">(\d+)<', text)}
    assert len(counted) == len(State)
    assert sum(counted.values()) == len(summary_of(audited).attacks) == 6 + 2
    for state in State:
        name = "NA" if state is State.NOT_APPLICABLE else state.replace(" ", "-")
        assert counted[name] == sum(cell.state is state for cell in summary_of(audited).attacks)


def test_it_loads_nothing_and_runs_nothing(audited: Path) -> None:
    text = write_report(audited).read_text()
    page = Page(text)
    assert {tag for tag, _ in page.tags} & {
        "script",
        "link",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
    } == set()
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "action"):
            held = "data:image/png;base64," if (tag, name) == ("img", "src") else "#"
            assert (attributes.get(name) or held).startswith(held), attributes
    assert set(re.findall(r"https?://[^\s\"'<)]+", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert "@import" not in text
    assert set(re.findall(r"url\((.)", text)) <= {"#"}
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_ids_are_unique_and_figures_have_names(audited: Path) -> None:
    page = Page(write_report(audited).read_text())
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    named = [attributes for tag, attributes in page.tags if tag == "svg" and attributes.get("role") == "img"]
    assert len(named) >= 4  # two levels on the ladder, two attacks' rounds, the price
    for attributes in named:
        assert attributes.get("aria-label") or set((attributes["aria-labelledby"] or "").split()) <= set(ids)
    targets = [a["href"][1:] for tag, a in page.tags if tag == "a" and a.get("href")]  # type: ignore[index]
    assert set(targets) <= set(ids)


def test_headings_descend_one_step_at_a_time_and_tables_have_captions(audited: Path) -> None:
    page = Page(write_report(audited).read_text())
    tags = [tag for tag, _ in page.tags]
    levels = [int(tag[1]) for tag in tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert tags.count("table") == tags.count("caption") == tags.count("thead")
    assert all(attributes.get("scope") in ("row", "col") for tag, attributes in page.tags if tag == "th")


def test_equal_records_give_equal_bytes(audited: Path, tmp_path: Path) -> None:
    first = write_report(audited).read_bytes()
    shutil.copy(audited / "records.jsonl", tmp_path)
    assert write_report(tmp_path).read_bytes() == first


def test_words_that_promise_too_much_do_not_appear(audited: Path) -> None:
    text = Page(write_report(audited).read_text()).text.lower()
    assert [word for word in BANNED if re.search(rf"\b{word}\b", text)] == []


def test_the_replay_file_plans_the_very_trials_of_its_cell(audited: Path) -> None:
    summary = summary_of(audited)
    for cell in summary.attacks:
        text = replay(cell, summary.plan)
        assert text is not None
        assert list(yaml.safe_load(text)) == ["version", "name", "seeds", "limits", "scenarios"]
        plan = plan_of(text, "replay.yaml")
        assert {trial.key for trial in plan.trials()} >= set(cell.keys)
        assert all(c.deployed == (c.defence is None) for c in plan.cells) == (cell.defence == "none")
        assert len(plan.cells) == (2 if cell.defence == "none" else 4)


def test_the_command_of_a_pair_prints_its_replay_file(audited: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = summary_of(audited)
    cell = summary.attacks[0]
    assert f"antivenom report . --replay {cell.keys[0]}" in Page(render(summary)).text
    assert run(["report", str(audited), "--replay", cell.keys[0]]) == 0
    assert capsys.readouterr().out == replay(cell, summary.plan)
    assert run(["report", str(audited), "--replay", "0" * 16]) != 0
    assert "the id of a finished trial" in capsys.readouterr().err


def test_hostile_names_stay_text(audited: Path, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\x1b[31m\"'&"

    def change(record: dict[str, Any]) -> dict[str, Any]:
        text = (
            json.dumps(record)
            .replace("small federation", json.dumps(evil)[1:-1])
            .replace("two levels", json.dumps(evil)[1:-1])
            .replace("AccuracyCheck", json.dumps(evil)[1:-1] + "$x$")
        )
        return json.loads(text)  # type: ignore[no-any-return]

    text = render(rewritten(audited, tmp_path / "evil", change))
    assert "<script" not in text
    assert "\x1b" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert Page(text).open == []


def test_the_home_folder_is_not_shown(audited: Path, tmp_path: Path) -> None:
    def change(record: dict[str, Any]) -> dict[str, Any]:
        return (
            record | {"command": f"antivenom audit {Path.home()}/secret.yaml"} if record["type"] == "plan" else record
        )

    text = render(rewritten(audited, tmp_path / "home", change))
    assert f"{Path.home()}/" not in text
    assert "antivenom audit ~/secret.yaml" in text


@pytest.mark.parametrize(
    ("keep", "status", "said"),
    [
        (lambda i: i < 10, "ok", "Interrupted: 10 of"),
        (lambda i: False, "ok", "Interrupted: 0 of"),
        (lambda i: True, "error", "trials failed; the appendix lists their errors"),
        (lambda i: True, "not-applicable", "N/A"),
    ],
)
def test_half_an_audit_and_a_failed_one_make_a_page(audited: Path, tmp_path: Path, keep, status, said) -> None:
    count = iter(range(10_000))

    def change(record: dict[str, Any]) -> dict[str, Any] | None:
        if record["type"] != "trial":
            return record
        if not keep(next(count)):
            return None
        broken = {"status": status, "error": "it <broke>", "metrics": {}, "curves": {}}
        return record if status == "ok" else record | broken

    summary = rewritten(audited, tmp_path / "part", change)
    text = render(summary)
    page = Page(text)
    assert page.open == []
    assert said in page.text
    if status == "error":
        assert "it &lt;broke&gt;" in text
        assert summary.exit_code == 2


def test_numbers_that_are_missing_are_named_so(audited: Path, tmp_path: Path) -> None:
    def change(record: dict[str, Any]) -> dict[str, Any]:
        if record["type"] == "trial":
            record["metrics"] = dict.fromkeys(record["metrics"])
            record["curves"] = {name: [None] * len(curve) for name, curve in record["curves"].items()}
        return record

    text = Page(render(rewritten(audited, tmp_path / "nan", change))).text
    assert "nan" not in text.lower().split()
    assert "not measured" in text


def test_more_cells_than_a_page_holds_are_cut_and_said(audited: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antivenom.auditing.report.pairs.MOST_CELLS", 3)
    monkeypatch.setattr("antivenom.auditing.report.pairs.WORST_CELLS", 1)
    assert "6 pairs are not shown here; they are in records.jsonl." in Page(render(summary_of(audited))).text


def test_no_records_and_no_place_to_write_are_one_line(audited: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError) as nothing:
        write_report(tmp_path)
    assert "\n" not in str(nothing.value)
    shutil.copy(audited / "records.jsonl", tmp_path)
    (tmp_path / "report.html").mkdir()
    with pytest.raises(StoreError, match="a place to write"):
        write_report(tmp_path)
    assert not list(tmp_path.glob(".report*"))
