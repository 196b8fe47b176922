"""The structural checks that suit a model file."""

from __future__ import annotations

from collections.abc import Sequence

from antivenom.artifacts.loading import scanned
from antivenom.inspection.reading import Form, Subject
from antivenom.inspection.structure import Trace
from antivenom.inspection.structure.graph import inspect_graph
from antivenom.scan.view import View


def traces_of(subject: Subject, others: Sequence[Subject]) -> list[Trace]:
    """Observations about the structure of the model, also beside a single reference."""
    if subject.form is Form.GRAPH:
        with scanned(subject.path) as (file, _):
            return inspect_graph(View(file), subject.path.name)
    return []
