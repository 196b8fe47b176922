"""Stands in the way of numba: with this folder on PYTHONPATH, Python finds this file and the import fails."""

raise ModuleNotFoundError("No module named 'numba' (tests/absent)", name="numba")
