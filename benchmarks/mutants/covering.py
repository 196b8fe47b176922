"""Which tests run which lines, and how long each takes: one run of a room's tests under coverage."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import coverage
import pytest


class Watch:
    """A plugin of pytest that names the coverage's context after the running test and keeps the durations of those that pass."""

    def __init__(self, cov: coverage.Coverage) -> None:
        self.cov, self.seconds, self.failed = cov, {}, set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        self.cov.switch_context(item.nodeid)
        result = yield
        self.cov.switch_context("")
        return result

    def pytest_runtest_logreport(self, report) -> None:
        if not report.passed:
            self.failed.add(report.nodeid)
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration


def main() -> None:
    """Arguments: the folder of the mutated package, the file to write, and the tests."""
    package, out, *tests = sys.argv[1:]
    cov = coverage.Coverage(source=[package], data_file=None, config_file=False)
    watch = Watch(cov)
    cov.start()
    code = pytest.main(["-q", "-p", "no:cacheprovider", "-m", "not slow and not browser", *tests], plugins=[watch])
    cov.stop()
    data = cov.get_data()
    lines = {
        str(Path(file).relative_to(package)): {
            line: [name for name in names if name and name not in watch.failed]
            for line, names in data.contexts_by_lineno(file).items()
        }
        for file in data.measured_files()
    }
    seconds = {name: took for name, took in watch.seconds.items() if name not in watch.failed}
    Path(out).write_text(json.dumps({"seconds": seconds, "lines": lines}))
    sys.exit(code if code in (0, 1) else 2)


if __name__ == "__main__":
    main()
