"""The lines of records.jsonl beside plans and trials: what an audit of a user's own pipeline found before its trials.

All are optional. "given" says what the user gave and what was tried with it, "search" what a search for the worst case found,
"suspects" which of the given rows look poisoned already, and "floor" how many rows cannot change an answer by proof. Of each type the last line counts, of searches the last one of each
group.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError

from antivenom.auditing.trial import Record

TYPES = ("given", "search", "suspects", "floor")
_MOST_SAMPLES = 20  # rows that a record of suspects may show


class _Checked(BaseModel):
    """Types are exact, numbers are finite, and further fields are allowed."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class _Column(_Checked):
    name: str
    kind: str
    editable: bool


class _Class(_Checked):
    name: str
    rows: int


class _Data(_Checked):
    name: str
    form: str
    rows: int
    test_rows: int
    columns: list[_Column]
    classes: list[_Class]
    duplicates: int
    missing: int


class _Model(_Checked):
    name: str
    chosen: bool
    why: str


class _Tried(_Checked):
    level: str
    goal: str
    attacks: list[str]
    defences: list[str]


class _Untried(_Checked):
    what: str
    why: str


class _Given(_Checked):
    data: _Data
    model: _Model
    fit_seconds: float
    accuracy: float
    chance: float
    tried: list[_Tried]
    untried: list[_Untried]


class _Worst(_Checked):
    attack: str
    harm: float
    confirmed: float | None
    low: float
    high: float


class _Attempt(_Checked):
    attack: str
    share: float
    rows: int
    harm: float | None
    seed: int
    stage: str


class _Smallest(_Checked):
    rows: int
    share: float
    harm: float


class _Point(_Checked):
    share: float
    rows: int
    harm: float
    low: float
    high: float
    seeds: int


class _Search(_Checked):
    group: str
    level: str
    goal: str
    defence: str
    trials: int
    worst: _Worst | None
    attempts: list[_Attempt]
    smallest: _Smallest | None
    curve: list[_Point]


class _Suspect(_Checked):
    row: int
    score: float
    why: str
    label: str
    suggested: str
    cells: dict[str, str]


class _Suspects(_Checked):
    method: str
    rows: int
    flagged: int
    expected_false_alarms: float
    warning: str
    sample: list[_Suspect]


class _Floor(_Checked):
    learner: str
    models: int
    rows: float | None
    by_one: float | None
    accuracy: float | None
    accuracy_before: float
    budget: int
    theorem: str
    why: str


_MODELS: dict[str, type[BaseModel]] = {"given": _Given, "search": _Search, "suspects": _Suspects, "floor": _Floor}


def require_beside(record: Record) -> None:
    """Check a line of one of `TYPES`.

    Raises:
        ValueError: a field is missing or has another type, or there are too many sample rows.
    """
    require(_MODELS[record["type"]], record)
    if len(record.get("sample", ())) > _MOST_SAMPLES:
        raise ValueError(f"more than {_MOST_SAMPLES} sample rows")


def require(model: type[BaseModel], record: Record) -> None:
    """Check a record by a model of its fields.

    Raises:
        ValueError: a field is missing or has another type.
    """
    try:
        model.model_validate(record)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))[:100]
        raise ValueError(f"a field `{place}` that is wrong ({first['msg'][:200]})") from error
