"""The check of a line of records.jsonl: it is of a known type, and holds all that a summary reads, in the right types."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field

from antivenom.auditing.beside import TYPES, require
from antivenom.auditing.identity import is_genuine
from antivenom.auditing.pictures import decoded
from antivenom.auditing.samples import MOST, SampleLine, require_sample
from antivenom.auditing.trial import SCHEMA, Record
from antivenom.core.errors import StoreError, ThreatError, with_article
from antivenom.core.threat import Goal

_READ_BY_REPORT = ("metrics", "curves", "notes", "versions", "seconds", "started", "device")  # of a finished trial
_BEGINNING = b'{"schema":'  # how every line begins that a store has written


class _Checked(BaseModel):
    """Types are exact, numbers are finite, and further fields are allowed."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class _Trial(_Checked):
    key: str
    status: Literal["ok", "error", "timeout", "not-applicable"]
    error: str | None = None
    metrics: dict[str, float | None] = {}
    curves: dict[str, list[float | None]] = {}
    notes: list[str] = []
    pictures: dict[str, dict[str, Any]] = {}
    samples: list[SampleLine] = Field([], max_length=MOST)
    versions: dict[str, str] = {}
    seconds: float = 0.0
    started: str = ""
    device: str = ""
    traceback: str = ""
    run: str = ""


class _Scenario(_Checked):
    kind: str


class _Cell(_Checked):
    group: str
    level: str
    goal: str
    scenario: _Scenario
    attack: str
    defence: str
    deployed: bool
    knowledge: str
    budget: str
    keys: list[str] = Field(min_length=1)
    fresh: list[str] = []


class _Level(_Checked):
    name: str
    about: str
    access: list[str]
    add: str


class _Plan(_Checked):
    name: str
    source: str
    claim: dict[str, str]
    command: str
    seeds: list[int]
    limits: dict[str, float]
    fail_if: dict[str, float]
    levels: list[_Level]
    curves: dict[str, dict[str, list[dict[str, Any]]]]
    cells: list[_Cell]
    run: str = ""


def parsed(line: bytes, number: int) -> Record:
    """The record in a line of the file, whose number is given for messages.

    Raises:
        ValueError: the line is no record; the message says what it is.
        StoreError: a later version of antivenom wrote it.
    """
    try:
        record = _DECODER.decode(line.decode())
    except UnicodeDecodeError as error:
        raise ValueError("bytes that are no text in UTF-8") from error
    except RecursionError as error:
        raise ValueError("JSON that is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"no JSON ({error})") from error
    if not isinstance(record, dict):
        raise ValueError(f"{with_article(type(record).__name__)} instead of a mapping")
    schema, kind = record.get("schema"), record.get("type")
    if type(schema) is not int or schema < 1:
        raise ValueError("a mapping without a whole number as `schema`")
    if schema > SCHEMA:
        raise StoreError(
            f"records of schema {SCHEMA} or older", f"schema {schema} in line {number}", "update antivenom"
        )
    if kind not in ("plan", "trial", *TYPES):
        raise ValueError(f"a record of type {kind!r}")
    if b"\\ud" in line.lower():
        try:
            json.dumps(record, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise ValueError("text with half a character") from error
    return record


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name}, which is no number in JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)  # made once: `json.loads` with an option makes one in every call


def require_trial(record: Record) -> None:
    """Check a genuine trial's record.

    Raises:
        ValueError: a field is missing or has another type, or a finished trial lacks a number that its goal reads.
    """
    require(_Trial, record)
    if record["status"] != "ok":
        return
    for picture in record.get("pictures", {}).values():
        decoded(picture)
    for sample in record.get("samples", ()):
        require_sample(sample)
    for name in _READ_BY_REPORT:
        if name not in record:
            raise ValueError(f"a finished trial without `{name}`")
    if "machine" not in record["versions"]:
        raise ValueError("a finished trial without the machine in `versions`")
    if type(record["spec"].get("seed")) is not int:
        raise ValueError("a finished trial without a whole number as seed")
    for name in _numbers_of(record["spec"]):
        if name not in record["metrics"]:
            raise ValueError(f"a finished trial without the number `{name}`")


def _numbers_of(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the metrics that a summary of this trial reads; none if its goal is not known here."""
    scenario = spec.get("scenario")
    goal = scenario.get("goal") if isinstance(scenario, Mapping) else None
    return _read_by(goal) if isinstance(goal, str) else ()


@functools.cache
def _read_by(goal: str) -> tuple[str, ...]:
    """Names of the metrics that the goal's metric needs of a trial and of its clean twin.

    A metric that is read without a default, as by `get(name)`, may be absent.
    """

    class Noting(dict[str, float]):
        def __missing__(self, name: str) -> float:
            read[name] = None
            return 0.5

        def get(self, name: str, default: Any = None) -> Any:
            return None if default is None else self[name]

    read: dict[str, None] = {"clean_accuracy": None}
    try:
        Goal(goal).metric.value(Noting(), Noting())
    except (ThreatError, ArithmeticError, ValueError):
        return ()
    return tuple(read)


def require_plan(record: Record) -> None:
    """Check a plan's record.

    Raises:
        ValueError: a field is missing or has another type, or a cell lacks its clean twins or its goal's limit.
    """
    require(_Plan, record)
    cells = {(cell["group"], cell["attack"], cell["defence"]) for cell in record["cells"]}
    for cell in record["cells"]:
        twins = ((cell["group"], "none", cell["defence"]), (cell["group"], "none", "none"))
        if any(twin not in cells for twin in twins):
            raise ValueError(f"a cell of {cell['attack']} against {cell['defence']} without its clean twins")
        if cell["goal"] not in record["limits"]:
            raise ValueError(f"a cell of the goal {cell['goal']!r}, which has no limit")


def is_begun(line: bytes) -> bool:
    """Whether a line without an end may be the beginning of a record, which a killed process left."""
    return line.startswith(_BEGINNING) or _BEGINNING.startswith(line)


def is_genuine_trial(record: Record) -> bool:
    """Whether the key of a trial's record follows from its content (see `identity.is_genuine`)."""
    typed = all(isinstance(record.get(name), dict) for name in ("spec", "code", "data"))
    return typed and isinstance(record.get("version"), str) and is_genuine(record)
