"""Where rows come from, as plugins: `source(streams) -> Split`. `source_of` makes one of whatever a user has."""

from antivenom.data.sources.accepted import source_of
from antivenom.data.sources.memory import Memory
from antivenom.data.sources.named import Named
from antivenom.data.sources.python import PythonSource

__all__ = ["Memory", "Named", "PythonSource", "source_of"]
