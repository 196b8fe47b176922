"""Stands in the way of llvmlite: with this folder on PYTHONPATH, Python finds this file and the import fails."""

raise ModuleNotFoundError("No module named 'llvmlite' (tests/absent)", name="llvmlite")
