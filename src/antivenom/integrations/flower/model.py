"""The global model of a round, in the three forms in which it is needed."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from flwr.app import ArrayRecord

from antivenom.core.errors import ScenarioError
from antivenom.integrations.flower.wire import Floats, Unusable, template_of
from antivenom.models.layout import Layout


class Model:
    """The global model of a round.

    Attributes:
        arrays: as it is sent to clients.
        template: the form of these arrays.
    """

    def __init__(self, arrays: ArrayRecord, layout: Layout | None) -> None:
        self.arrays, self.template = arrays, template_of(arrays, layout)

    @cached_property
    def _values(self) -> tuple[Floats, Floats]:
        try:
            return self.template.values(self.arrays)
        except Unusable as error:
            raise ScenarioError("a global model of finite numbers", str(error)) from error

    @property
    def vector(self) -> Floats:
        """(d,) the trained parameters."""
        return self._values[0]

    @property
    def side(self) -> Floats:
        """(m,) the buffers and counters."""
        return self._values[1]

    @cached_property
    def plain(self) -> ArrayRecord:
        """The arrays with half precision as float32, in which Flower's strategies can compute."""
        if not self.template.has_half:
            return self.arrays
        return self.template.record(self.vector, self.side, self.arrays, plain=True)

    def combined(self, vector: Floats, side: Floats, *, plain: bool = False) -> ArrayRecord:
        """The arrays with other parameters (d,), and other buffers and counters (m,).

        Raises:
            Unusable: a number does not fit into its type.
        """
        return self.template.record(vector, side, self.arrays, plain=plain)

    def parameters_of(self, arrays: ArrayRecord) -> Floats:
        """(d,) the trained parameters in a result of the strategy inside.

        Raises:
            Unusable: other arrays or shapes, NaN or infinity.
        """
        vector: Floats = np.empty(self.template.d, self.template.precision)
        self.template.read(arrays, np.zeros_like(vector), vector, None)
        return vector
