"""Rows from a user's function."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from antivenom.core.errors import AntivenomError, DataError, PluginError, text_of
from antivenom.core.fingerprint import code_of, imported
from antivenom.core.registry import source
from antivenom.core.streams import Streams
from antivenom.data.dataset import Dataset, Split
from antivenom.data.fingerprints import digest_of, of_rows
from antivenom.data.sources.memory import Memory


@source(cite="the user's own function")
class PythonSource:
    """A user's Python function that returns the rows. The function's code is run.

    The function takes no argument, or the random streams. It returns a Dataset, a Split, a pair of Datasets (train, test), or
    arrays (X, y) or (X, y, schema).

    Fields:
        function: the function as "module:function".
        test_share: share of the rows that become test rows, above 0 and below 1, if the function does not split them.
    """

    function: str
    test_share: float = 0.3

    def __post_init__(self) -> None:
        module, _, name = self.function.partition(":")
        if not module or not name or "<" in name:  # <locals> and <lambda> cannot be imported
            raise PluginError(
                'a function as "module:function"',
                repr(self.function),
                "write my_package.rows:load, a function at the top of a module",
            )

    def __call__(self, streams: Streams) -> Split:
        return self._memory(streams)(streams)

    def unsplit(self) -> Dataset:
        """The rows in the function's order; of a Split, the training rows."""
        return self._memory(Streams(0)).unsplit()

    def _memory(self, streams: Streams) -> Memory:
        from antivenom.data.sources.accepted import in_memory

        function = _function(self.function)
        try:
            value = function(streams) if _takes_streams(function) else function()
        except (AntivenomError, KeyboardInterrupt):
            raise
        except BaseException as error:  # the user's own code may raise anything; sys.exit() is no Exception
            raise DataError(
                f"rows from {self.function}",
                text_of(error),
                "run it by itself to see the traceback",
            ) from error
        found = in_memory(value, self.test_share)
        if found is None:
            raise DataError(
                f"a Dataset, a Split or a pair (X, y) from {self.function}", type(value).__name__, "return one of them"
            )
        return found

    def fingerprint(self) -> str:
        """The SHA-256 of the function's code and of the rows that it returns for seed 0."""
        return digest_of(code_of(_function(self.function)), of_rows(self(Streams(0))))


def _function(path: str) -> Callable[..., Any]:
    """The function at "module:function".

    Raises:
        PluginError: the module does not import, or has no such function.
    """
    found = imported(path)
    if not callable(found):
        raise PluginError(f"a function at {path}", type(found).__name__, "name a function")
    return found


def _takes_streams(function: Callable[..., object]) -> bool:
    required = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(
        parameter.kind in required and parameter.default is parameter.empty
        for parameter in inspect.signature(function).parameters.values()
    )
