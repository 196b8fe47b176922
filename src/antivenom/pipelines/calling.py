"""`audit` and `assert_robust`: audits of a user's own pipeline from Python."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from antivenom.auditing.records import Store
from antivenom.auditing.report import write_report
from antivenom.auditing.results import State
from antivenom.auditing.summary import summary_of
from antivenom.core.errors import ScenarioError
from antivenom.models.training import Training
from antivenom.pipelines.planning import written
from antivenom.pipelines.request import BUDGET, TIME, prepare, request_of
from antivenom.pipelines.result import Audit
from antivenom.pipelines.running import Means, perform
from antivenom.pipelines.saying import Progressing


def audit(
    model: object = None,
    data: object = None,
    *,
    train: object = None,
    access: Sequence[str] = (),
    goals: Sequence[str] = (),
    budget: float = BUDGET,
    time: str | float = TIME,
    trials: int | None = None,
    search: bool = True,
    target: str | int | None = None,
    training: Training | None = None,
    deployed: object = None,
    limits: Mapping[str, float] | None = None,
    fail_if: Mapping[str, float] | None = None,
    timeout: float | None = None,
    out: str | Path | None = None,
    jobs: int = 0,
    device: str = "cpu",
    name: str = "",
    quiet: bool = False,
) -> Audit:
    """Attack a pipeline of your own, try defences, and judge the results.

    Args:
        model: an estimator, a torch module, a function that makes one, or `module:name` of one of these; None for a model
            that suits the rows.
        data: the rows: (X, y), a Dataset, a Split, a source such as TableFile, the name of a data set, or "module:function".
        train: a function train(rows, labels) -> predict in place of a model.
        access: access levels to try; empty for all that fit.
        goals: goals to try: availability, targeted, backdoor; empty for all that fit.
        budget: the share of the training rows that the attacker may change or add.
        time: how long the audit may take: seconds, or a text such as "5m".
        trials: the most trials that it runs, so that the result is the same on every machine; None for no limit.
        search: whether to search for the worst attack at each level, and again against the best defence.
        target: the class that the attacker wants; None for the largest one.
        training: how a torch module is trained.
        deployed: the defence that you run, as a value or by its name; None for none.
        limits: goal -> harm (0 to 1) from which the pipeline counts as breached.
        fail_if: the same for the goals that decide `exit_code`.
        timeout: seconds per training, or None for an hour.
        out: folder for records and report, in which an audit that was killed goes on; None for a new temporary one.
        jobs: number of processes; 0 for one per core. In a script, call it below `if __name__ == "__main__":`.
        device: the torch device.
        name: the audit's name in the report.
        quiet: show no progress.

    Raises:
        AntivenomError: rows or model cannot be used, or the time does not allow one attack.
    """
    if data is None:
        raise ScenarioError("rows as `data`", "none", "audit(model, (X, y))")
    request = request_of(
        data,
        model,
        train=train,
        time=time,
        deployed=deployed,
        name=name,
        access=tuple(access),
        goals=tuple(goals),
        budget=budget,
        trials=trials,
        search=search,
        target=target,
        training=training,
        limits=dict(limits or {}),
        fail_if=dict(fail_if or {}),
        timeout=timeout,
    )
    prepared = prepare(request)
    folder = Path(tempfile.mkdtemp(prefix="antivenom-") if out is None else out)
    try:
        scenario = written(prepared.choice.groups, request)
    except ScenarioError:
        scenario = ""

    with Store(folder, write=True) as store, Progressing(quiet) as shows:
        perform(prepared, store, Means(jobs, device), shows)
    write_report(folder)
    return Audit(summary_of(Store(folder)), folder, scenario)


def assert_robust(
    model: object = None,
    data: object = None,
    *,
    at_most: Mapping[str, float] | None = None,
    shown: bool = False,
    **options: object,
) -> Audit:
    """Fail a test if an attack breaches the pipeline.

    Args:
        model, data: as for `audit`.
        at_most: goal -> harm (0 to 1) that an attack may do on average; None for the goals' own limits.
        shown: fail also if it is not shown that every attack that was tried stays below its limit. That takes many seeds.
        options: the other arguments of `audit`, such as `budget`, `trials` or `deployed`.

    Raises:
        AssertionError: a breach; the message says by which attack, and with `shown` also what is not shown yet.
        AntivenomError: as `audit`.
    """
    found = audit(model, data, limits=at_most, **options)  # type: ignore[arg-type]
    cells = [cell for cell in found.summary.attacks if cell.deployed]
    bad = [cell for cell in cells if cell.state is State.BREACHED]
    if shown:
        bad += [
            cell for cell in cells if cell not in bad and not (cell.harm is not None and cell.harm.high < cell.limit)
        ]
    failed = found.summary.trials["error"] + found.summary.trials["timeout"]
    if bad or not cells or failed:
        lines = [f"{cell.group}: {cell.attack} against {cell.defence}: {cell.state}, {cell.reason}" for cell in bad]
        lines += (
            [f"{failed} trials failed: {next((e for c in cells for e in c.errors), 'see the report')}"]
            if failed
            else []
        )
        raise AssertionError("\n".join([*lines, f"report: {found.report}"]))
    return found
