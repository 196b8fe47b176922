"""A section for a model card in Markdown: what was audited, the verdicts with their numbers, and what was not tried."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from pathlib import Path

from antivenom.auditing.formatting import effect, not_measured, shown, unconfirmed
from antivenom.auditing.naming import of_value, short
from antivenom.auditing.records import Store
from antivenom.auditing.results import LevelResult, State, Summary
from antivenom.auditing.sentences import do_first, rows_of, sentence
from antivenom.auditing.standards import touched
from antivenom.auditing.summary import summary_of
from antivenom.auditing.untried import untried
from antivenom.core.errors import StoreError
from antivenom.core.garbage import uncollected
from antivenom.core.regular import write_whole

FILENAME = "model-card.md"
_SPECIAL = re.compile(r"([\\`*_\[\]#|~])")
_SCOPE = (
    "HELD means that these attacks with these budgets did not break the model in this test; a stronger attacker is not excluded. "
    "The probability that any pair of attack and defence is wrongly called HELD is at most 5 %, and so is that for BREACHED."
)


def write_card(folder: Path) -> Path:
    """Write `folder/model-card.md` from the records in the folder and return its path.

    Raises:
        StoreError: the folder holds no records, or the file cannot be written.
    """
    store = Store(folder)
    with uncollected():
        text = card_of(summary_of(store), store.sha256())
    path = folder / FILENAME
    try:
        write_whole(path, text.encode("utf-8"))
    except OSError as error:
        raise StoreError(f"a place to write {path}", f"{error.strerror}") from error
    return path


def card_of(summary: Summary, sha256: str = "") -> str:
    """The section as Markdown. Text from data, models and plugins cannot add markup to it.

    Args:
        summary: the results.
        sha256: the hash of records.jsonl; empty to leave it out.
    """
    levels = [level for level in summary.levels if level.planned]
    dates = sorted(record["started"][:10] for cell in summary.cells for record in cell.records if record.get("started"))
    versions = sorted(
        {
            f"{name} {v}"
            for c in summary.cells
            for r in c.records
            for name, v in r["versions"].items()
            if name != "machine"
        }
    )
    parts = [
        "## Data poisoning audit",
        f"Audited{f' on {dates[-1]}' if dates else ''} with antivenom: {_audited(summary)}.",
        *([_table(levels)] if levels else ["No attack was planned, so nothing is known."]),
        _list("In words", [sentence(level) for level in levels]),
        f"**Do first:** {_text(do_first(summary))}",
        _list("Not measured", not_measured(summary)),
        _text(untried(summary)) + "." if untried(summary) else "",
        _text(unconfirmed(summary)),
        _SCOPE,
        _published(summary),
        _list(
            "To repeat it",
            [
                f"command: {_code(summary.plan['command'])}",
                f"seeds: {', '.join(map(str, summary.plan['seeds']))}",
                f"versions: {', '.join(versions)}",
                *([f"records.jsonl: SHA-256 {sha256}"] if sha256 else []),
            ],
            ready=True,
        ),
    ]
    text = "\n\n".join(part for part in parts if part) + "\n"
    home = str(Path.home())
    return text.replace(home, "~") if len(home) > 1 else text


def _audited(summary: Summary) -> str:
    found = dict.fromkeys(
        f"**{_text(of_value(cell.scenario.get('data')))}** with **{_text(of_value(cell.scenario.get('model')))}**, "
        f"{_text(short(cell.defence, 'no defence'))} deployed"
        for cell in summary.cells
        if cell.deployed
    )
    return "; ".join(found) or "nothing"


def _table(levels: Iterable[LevelResult]) -> str:
    """One row for each access level that was tried: the worst attack on what is deployed, and its effect."""
    lines = ["| an attacker who | verdict | worst attack tried | budget | harm |", "| --- | --- | --- | --- | --- |"]
    for level in levels:
        cell = level.deployed
        shown_cells = [level.about, str(level.state)]
        if cell is None:
            shown_cells += ["none", "", "not measured"]
        else:
            shown_cells += [short(cell.attack), rows_of(cell), f"{cell.metric.word} {effect(cell)}"]
        lines.append(f"| {' | '.join(map(_text, shown_cells))} |")
    return "\n".join(lines)


def _published(summary: Summary) -> str:
    """The entries of published lists on which a breach bears."""
    found = [entry for entry in touched(summary) if entry.state is State.BREACHED]
    if not found:
        return ""
    by_list: dict[str, list[str]] = {}
    for entry in found:
        by_list.setdefault(entry.list, []).append(f"{entry.id} {entry.name}")
    return _list(
        "Breaches bear on these entries of published lists",
        [f"{name}: {', '.join(ids)}" for name, ids in by_list.items()],
    )


def _list(title: str, lines: Iterable[str], ready: bool = False) -> str:
    """A list with a title; empty if there are no lines. `ready` lines are Markdown already."""
    items = [f"- {line if ready else _text(line)}" for line in lines]
    return "\n".join([f"**{title}:**", "", *items]) if items else ""


def _text(text: str) -> str:
    """Text without markup of its own."""
    return _SPECIAL.sub(r"\\\1", html.escape(shown(" ".join(text.split())), quote=False))


def _code(text: str) -> str:
    """Text as code, between more backticks than it holds in a row."""
    most = max(map(len, re.findall("`+", text)), default=0)
    ticks = "`" * (most + 1)
    return f"{ticks} {shown(text)} {ticks}" if most else f"`{shown(text)}`"
