"""What an audit of a user's pipeline says while it runs, and before: what was found, what is tried and what is not."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from types import TracebackType

from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from antivenom.auditing.allocation import Step
from antivenom.auditing.formatting import shown
from antivenom.auditing.terminal import cell_name
from antivenom.auditing.trial import Record
from antivenom.core.protocols import Limits
from antivenom.core.terminal import console
from antivenom.pipelines.request import Prepared
from antivenom.pipelines.running import model_name
from antivenom.search import Attempt, label_of

_EVERY_S = 5.0  # between two lines of progress where there is no terminal


class Progressing:
    """Progress on stderr: one moving line in a terminal, and otherwise a line for each step and for every few seconds.

    Args:
        quiet: whether to show nothing.
        verbose: whether to print a line for every trial, if stderr is not a terminal.
    """

    def __init__(self, quiet: bool = False, verbose: bool = False) -> None:
        self._quiet, self._verbose = quiet, verbose
        self._stage, self._last, self._begun = "", 0.0, time.monotonic()
        self._bar: Progress | None = None
        if not quiet and sys.stderr.isatty():
            columns = (
                SpinnerColumn(),
                TextColumn("{task.description}"),
                TimeElapsedColumn(),
                TextColumn("{task.fields[last]}"),
            )
            self._bar = Progress(*columns, console=console(sys.stderr), transient=True)
            self._task = self._bar.add_task("", total=None, last="")

    def __enter__(self) -> Progressing:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, line: str) -> None:
        """Begin a step."""
        self._stage = shown(line)
        if self._bar is not None:
            self._bar.update(self._task, description=self._stage, last="")
        elif not self._quiet:
            print(f"{time.monotonic() - self._begun:.0f} s: {self._stage}", file=sys.stderr, flush=True)

    def attempt(self, done: int, _: int, attempt: Attempt) -> None:
        """Show a trial of a search."""
        what = "the clean model" if attempt.attack is None else label_of(attempt.attack)
        self._tick(f"{done} tried, last {what}", "")  # the records list the attacks that failed

    def watch(self, steps: Iterator[Step], total: int) -> Iterator[Record]:
        """Pass the records of trials on, and show each."""
        for done, (record, so_far) in enumerate(steps, start=1):
            failed = record["status"] in ("error", "timeout")
            self._tick(
                f"{done} of {so_far} trials, last {cell_name(record['spec'])}", record["error"] if failed else ""
            )
            yield record

    def _tick(self, text: str, error: str) -> None:
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, last=shown(text)[:60])
            if error:
                self._bar.console.print(shown(error), soft_wrap=True)
        elif not self._quiet and (error or self._verbose or now - self._last >= _EVERY_S):
            self._last = now
            tail = f": {shown(error)}" if error else ""
            print(f"{now - self._begun:.0f} s: {shown(text)}{tail}", file=sys.stderr, flush=True)


def print_choice(prepared: Prepared) -> None:
    """Print the rows, the model, and what is tried and what not, on stdout."""
    out, request = console(sys.stdout), prepared.request
    out.print(shown(f"{request.name}: {prepared.look.summary}"), soft_wrap=True)
    for remark in prepared.look.remarks:
        out.print(shown(remark), soft_wrap=True)
    name = model_name(prepared.model)
    out.print(
        shown(f"No model was given: {name}, since {prepared.why}." if prepared.why else f"Model: {name}"),
        soft_wrap=True,
    )
    out.print(f"The attacker may use {_budget(prepared)}.", soft_wrap=True)
    found = ", and what a search finds" if request.search else ""
    for group in prepared.choice.groups:
        names = ", ".join(dict.fromkeys(type(attack).__name__ for attack in group.attacks))
        line = f"Tried: {group.name} ({group.scenario.level}, {group.scenario.goal}): {names}{found}"
        out.print(shown(line), soft_wrap=True)
    defences = dict.fromkeys(type(each).__name__ for group in prepared.choice.groups for each in group.defences)
    out.print(shown(f"Defences tried: {', '.join(defences) or 'none fits'}"), soft_wrap=True)
    for what, why in prepared.choice.untried:
        out.print(shown(f"Not tried: {what}: {why}"), soft_wrap=True)


def _budget(prepared: Prepared) -> str:
    """The attacker's means, such as "1.00% of the rows, 14 of them" or "1 of 10 agents, in 10 rounds"."""
    scenario = prepared.choice.groups[0].scenario
    if isinstance(scenario, Limits):
        return scenario.budget
    share = prepared.request.budget
    return f"{share:.2%} of the rows, {max(1, int(share * len(prepared.look.train))):,} of them"
