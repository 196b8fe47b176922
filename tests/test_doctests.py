"""The examples in docstrings of public names run and give the printed output."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import antivenom


def examples() -> list[pytest.param]:  # type: ignore[valid-type]
    """One parameter for each docstring with an example. Only modules whose source has an example are imported."""
    found = []
    for module in pkgutil.walk_packages(antivenom.__path__, "antivenom."):
        spec = module.module_finder.find_spec(module.name, None)
        source = spec.loader.get_source(module.name) or ""
        if ">>> " in source:
            tests = doctest.DocTestFinder().find(importlib.import_module(module.name))
            found += [pytest.param(test, id=test.name) for test in tests if test.examples]
    return found


@pytest.mark.parametrize("example", examples())
def test_docstring_examples_run(example: doctest.DocTest) -> None:
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE, verbose=False)
    output: list[str] = []
    runner.run(example, out=output.append)
    assert runner.failures == 0, "".join(output)
    assert runner.tries == len(example.examples)
