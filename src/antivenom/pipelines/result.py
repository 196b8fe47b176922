"""The result of an audit as a value, which shows itself in a terminal and in a notebook."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path

from antivenom.auditing.repairing import Repair, repairs
from antivenom.auditing.results import LevelResult, State, Summary
from antivenom.auditing.sentences import do_first, sentence


@dataclass(frozen=True, eq=False)
class Audit:
    """The result of `antivenom.audit`.

    Fields:
        summary: every number, cell by cell; see `antivenom.auditing.results.Summary`.
        folder: where records.jsonl and report.html are.
        scenario: the scenario file that stands for the audit, as YAML; empty if rows or model are in memory.

    The object shows one line per access level. In a notebook it is a table with a link to the report.
    """

    summary: Summary
    folder: Path
    scenario: str

    @property
    def verdicts(self) -> dict[str, str]:
        """Access level -> BREACHED, HELD, INCONCLUSIVE, or why it has none, for the levels that were tried."""
        return {level.level: str(level.state) for level in self._tried}

    @property
    def is_breached(self) -> bool:
        """Whether an attack was shown to breach the deployed pipeline."""
        return any(level.state is State.BREACHED for level in self._tried)

    @property
    def exit_code(self) -> int:
        """The exit code of the command line; see docs/guide/report.md."""
        return self.summary.exit_code

    @property
    def report(self) -> Path:
        """The page."""
        return self.folder / "report.html"

    @property
    def repair(self) -> Repair | None:
        """The defence to deploy first, as code to paste and with the call that tests it again.

        None if no level is shown to be breached, or no defence that was tried does better than what is deployed.
        """
        return next(iter(repairs(self.summary)), None)

    @property
    def _tried(self) -> list[LevelResult]:
        return [level for level in self.summary.levels if level.planned]

    def _rows(self) -> list[tuple[str, str, str]]:
        """(access level, verdict, one sentence) of each level that was tried."""
        return [(level.level, str(level.state), sentence(level)) for level in self._tried]

    def __repr__(self) -> str:
        rows = "\n".join(f"{level:<18} {state:<13} {said}".rstrip() for level, state, said in self._rows())
        repair = "" if self.repair is None else f"\nRepair: {self.repair.said} Its code: print(result.repair)"
        return f"{self.summary.plan['name']}\n{rows}\nDo first: {do_first(self.summary)}{repair}\n{self.report}"

    def _repr_html_(self) -> str:
        cells = "".join(
            "<tr>" + "".join(f"<td style='text-align:left'>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self._rows()
        )
        head = "<tr><th>access level</th><th>verdict</th><th>what was found</th></tr>"
        repair = "" if self.repair is None else f"<pre>{html.escape(str(self.repair))}</pre>"
        return (
            f"<p><b>{html.escape(str(self.summary.plan['name']))}</b></p><table>{head}{cells}</table>"
            f"<p>Do first: {html.escape(do_first(self.summary))}</p>{repair}<p>{html.escape(str(self.report))}</p>"
        )
