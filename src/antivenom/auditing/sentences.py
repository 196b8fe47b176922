"""What an audit found, in plain sentences: the same in terminal, JSON document and report."""

from __future__ import annotations

import math

from antivenom.auditing.formatting import outlook, percent
from antivenom.auditing.naming import of_value, short
from antivenom.auditing.results import CellResult, LevelResult, State, Summary
from antivenom.auditing.statistics import Interval

_BEGINNINGS = {
    State.BREACHED: "An attacker who {about}{needs} gets through",
    State.HELD: "An attacker who {about}{needs} did not get through in this test",
    State.INCONCLUSIVE: "It is not decided yet whether an attacker who {about}{needs} gets through",
}

_WITHOUT_EFFECT = (
    "An attacker who {about}{needs} does not get through with the attacks that were tried, and a stronger one may"
)


def is_without_effect(cell: CellResult) -> bool:
    """Whether an attack is shown to do less harm than its limit, although that does not show that anything holds."""
    return cell.state is State.INCONCLUSIVE and cell.harm is not None and cell.harm.high < cell.limit


def sentence(level: LevelResult) -> str:
    """What an attacker at this level can do to what is deployed, in one sentence."""
    cell = level.deployed
    if cell is None:
        return f"Not measured: whether an attacker who {level.about} gets through. No scenario tests it."
    if cell.state not in _BEGINNINGS:
        return f"Not known: whether an attacker who {level.about} gets through. {_sentence(cell.reason)}"
    needs = f" ({rows_of(cell)})" if rows_of(cell) else ""
    beginning = (_WITHOUT_EFFECT if is_without_effect(cell) else _BEGINNINGS[cell.state]).format(
        about=level.about, needs=needs
    )
    return _sentence(f"{beginning}: {change(cell)}")


def change(cell: CellResult) -> str:
    """The goal's share without and with the attack; the harm if the goal has no such share."""
    said = cell.metric.said
    if said and not math.isnan(cell.before) and not math.isnan(cell.after):
        return said.format(before=percent(cell.before), after=percent(cell.after))
    harm = cell.shown_harm
    return "its effect was not measured" if harm is None else f"{percent(harm.mean)} {cell.metric.word}"


def rows_of(cell: CellResult) -> str:
    """The attacker's budget in this cell, in rows or in the words of its scenario; empty if no row was touched."""
    if cell.budget:
        return cell.budget
    rows, share = cell.mean("poisoned_rows"), cell.mean("poisoned_rate")
    if not rows > 0:
        return ""
    return f"{_rows(rows)}, {percent(share)} of the training rows"


def needs(level: LevelResult, summary: Summary) -> str:
    """How few rows an attacker needs for a breach, as far as more than one number was tried; empty otherwise."""
    cell = level.deployed
    if cell is None or cell.state is not State.BREACHED:
        return ""
    found = [
        s for s in summary.searches if s["level"] == level.level and s["smallest"] and s["defence"] == cell.defence
    ]
    if found:
        least = min((s["smallest"] for s in found), key=lambda smallest: smallest["rows"])
        trials = sum(s["trials"] for s in found)
        return f"{_rows(least['rows'])} ({percent(least['share'])}), the smallest number that a search of {trials} trials found"
    counted = [c for c in summary.attacks if (c.level, c.group) == (level.level, cell.group) and c.deployed]
    counted = [c for c in counted if not c.budget and c.mean("poisoned_rows") > 0]
    broken = [c for c in counted if c.state is State.BREACHED]
    numbers = {round(c.mean("poisoned_rows")) for c in counted}
    if len(numbers) < 2 or not broken:
        return ""
    least_cell = min(broken, key=lambda c: c.mean("poisoned_rows"))
    return (
        f"{rows_of(least_cell)}, the least of {len(numbers)} numbers tried that broke it ({short(least_cell.attack)})"
    )


def _rows(number: float) -> str:
    return f"{number:,.0f} row{'s' * (round(number) != 1)}"


def on(cell: CellResult) -> str:
    """The data and the model of a cell, and its defence, such as "digits with MLP, no defence"."""
    data, model = of_value(cell.scenario.get("data")), of_value(cell.scenario.get("model"))
    absent = "not stated"
    known = f"{data} with {model}" if absent not in (data, model) else cell.group if data == absent else data
    return f"{known}, {short(cell.defence, 'no defence')}"


def severity_of(harm: Interval | None) -> str:
    """How bad a harm is, in one word, by its mean; it says nothing about whether there is a breach."""
    if harm is None:
        return "unknown"
    bands = ((0.05, "very low"), (0.1, "low"), (0.25, "medium"), (0.5, "high"))
    return next((word for most, word in bands if harm.mean <= most), "very high")


def price(cost: Interval | None) -> str:
    """What a defence costs in accuracy when nobody attacks, in words.

    >>> price(Interval(0.015, -0.01, 0.04, 5, ())), price(Interval(-0.002, -0.01, 0.01, 5, ()))
    ('costs 1.5 points of accuracy', 'costs no accuracy')
    """
    if cost is None:
        return "its cost in accuracy was not measured"
    return "costs no accuracy" if cost.mean < 0.0005 else f"costs {100 * cost.mean:.1f} points of accuracy"


def price_range(cost: Interval | None) -> str:
    """The interval of that cost, such as "between a gain of 1.0 points and a loss of 4.0 points"; empty for fewer than two seeds."""
    if cost is None or cost.n < 2:
        return ""
    ends = [100 * cost.low, 100 * cost.high]
    words = ["no change" if abs(e) < 0.05 else f"a {'loss' if e > 0 else 'gain'} of {abs(e):.1f} points" for e in ends]
    return words[0] if words[0] == words[1] else f"between {words[0]} and {words[1]}"


def next_step(level: LevelResult, summary: Summary) -> str:
    """What to do at this level, and what it costs, as one sentence."""
    cell, best = level.deployed, level.best
    if cell is None:
        return f"Add a scenario with {level.add}."
    if cell.state is State.HELD:
        return "Keep the defence, and audit again when data, model or training change."
    if cell.state is State.INCONCLUSIVE:
        unfinished = cell.planned - cell.finished - len(cell.errors)
        if unfinished > 0 and summary.trials["missing"]:
            return f"Run the same command again: {unfinished} of {cell.planned} seeds have not run."
        if is_without_effect(cell):
            access = " or ".join(level.access)
            return f"Try stronger attacks or more rows: `antivenom list attacks --access {access}` names attacks."
        more = "Run more seeds" if summary.given is None else "Give it more time (--time)"
        return _sentence(f"{more}: {outlook(cell)}" if outlook(cell) else f"Test further: {cell.reason}")
    if cell.state is not State.BREACHED:
        return "Run the same command again; the appendix lists the errors, if there were any."
    access = " or ".join(level.access)
    if best is None:
        return f"Try defences: `antivenom list defences --access {access}` names them."
    if not level.improves:
        return f"No other defence tried does better. `antivenom list defences --access {access}` names more."
    name, effect = short(best.defence), f"{_shift(cell, best)}; it {price(best.shown_cost)}{slower(best, summary)}"
    if best.state is State.HELD:
        return f"Deploy {name}, the cheapest defence that held: {effect}."
    verdict = "does not suffice" if best.state is State.BREACHED else "may or may not suffice"
    return f"Of the defences tried {name} leaves the least harm, and {verdict}: {effect}."


def _shift(now: CellResult, then: CellResult) -> str:
    """The goal's share, or else the harm, as deployed and with another defence, such as "99% → 2%"."""
    ends = (now.after, then.after)
    if any(map(math.isnan, ends)) and now.shown_harm is not None and then.shown_harm is not None:
        return f"harm {percent(now.shown_harm.mean)} → {percent(then.shown_harm.mean)}"
    return " → ".join(map(percent, ends))


def slower(cell: CellResult, summary: Summary) -> str:
    """The defence's cost in time as a clause, such as " and a run takes 1.3 times as long"; empty if it is not known."""
    ratio = time_ratio(cell, summary)
    return "" if ratio is None or ratio < 1.05 else f" and a run takes {ratio:.1f} times as long"


def time_ratio(cell: CellResult, summary: Summary) -> float | None:
    """The mean over the seeds of (seconds of the clean trial with the defence / without it); None if it is not known."""

    def seconds(defence: str) -> dict[int, float]:
        twins = [c for c in summary.cells if c.is_clean_twin and (c.group, c.defence) == (cell.group, defence)]
        return {r["spec"]["seed"]: r["seconds"] for c in twins for r in c.records if "seconds" in r}

    with_it, without = seconds(cell.defence), seconds("none")
    ratios = [with_it[seed] / without[seed] for seed in with_it if without.get(seed)]
    return sum(ratios) / len(ratios) if ratios else None


def floor_of(summary: Summary) -> str:
    """How many rows cannot change an answer, whatever they are, and what that costs; or why it is not known. Empty if not asked.

    Its number is the median over the test rows, of which wrong answers count as changed.
    """
    floor = summary.floor
    if floor is None:
        return ""
    if floor["rows"] is None or floor["accuracy"] is None:
        return _sentence(f"Certified floor not known: {floor['why'] or 'it was not measured'}")
    what = f"With {floor['models']} copies of your model that are each trained on a part of the rows and vote"
    before, after = percent(floor["accuracy_before"]), percent(floor["accuracy"])
    cost = f"their accuracy is {after}, " + (
        "like that of your model alone" if before == after else f"while your model alone has {before}"
    )
    if floor["rows"] < 1:
        one = "" if floor["by_one"] is None else f"; {percent(floor['by_one'])} of the answers withstand one row"
        return f"{what}, no number of rows is excluded for half of the test rows{one}, and {cost}."
    number = _rows(floor["rows"])
    return (
        f"{what}, no {number} that anyone adds or removes can change the right answer for half of the test rows "
        f"(the attacker of this audit has {_rows(floor['budget'])}), and {cost}. This is proven: {floor['theorem']}."
    )


def do_first(summary: Summary) -> str:
    """At the breached level with the greatest harm: the cheapest defence that held, or that none tried is sufficient."""
    breached = [level for level in summary.levels if level.deployed is not None and level.state is State.BREACHED]
    if not breached:
        return _without_breach(summary)
    held = [level for level in breached if level.best is not None and level.best.state is State.HELD]
    level = max(held or breached, key=lambda level: level.severity)
    before, after = level.deployed, level.best
    assert before is not None
    if after is None or after.shown_harm is None or before.shown_harm is None:
        return f"No defence was measured against {short(before.attack)} in “{before.group}”: try some."
    harm = f"the worst harm goes from {percent(before.shown_harm.mean)} to {percent(after.shown_harm.mean)}"
    effect = f"{harm}; it {price(after.shown_cost)}{slower(after, summary)}"
    if held:
        return f"Deploy {short(after.defence)} in “{after.group}”, the cheapest defence that held: {effect}."
    if not level.improves:
        ask = f"`antivenom list defences --access {' or '.join(level.access)}` names others"
        return f"No defence tried leaves less harm than {percent(before.shown_harm.mean)} in “{before.group}”: {ask}."
    where = f"{short(after.defence)} in “{after.group}”"
    return f"No defence tried is shown to be sufficient. The least harm is left by {where}: {effect}."


def _without_breach(summary: Summary) -> str:
    """What to do first if no level is shown to be breached."""
    counts, tried = summary.trials, [level for level in summary.levels if level.deployed is not None]
    open_levels = [level for level in tried if level.state is State.INCONCLUSIVE]
    if counts["missing"]:
        return f"Run the same command again: {counts['missing']} of {counts['planned']} trials have not run."
    if open_levels:
        worst = max(open_levels, key=lambda level: level.severity)
        return f"No level is shown to be breached as deployed. {worst.level} is open: {next_step(worst, summary)}"
    if any(level.state is State.ERROR for level in tried):
        return "Remove the cause of the errors, which the appendix lists, and run the same command again."
    if not tried:
        return "Choose attacks that fit these rows and this model: none was run."
    return "Nothing: no level is shown to be breached as deployed."


def _sentence(text: str) -> str:
    """The text with a capital letter and a full stop."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else ".")
