"""Scans files twice under an audit hook and writes what the interpreter was asked to do meanwhile. Run by the tests."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from antivenom.scan import scan

_QUIET = {"object.__getattr__", "object.__setattr__", "object.__delattr__", "sys._getframe", "os.scandir", "os.listdir"}
_QUIET |= {"os.walk", "pathlib.Path.glob", "glob.glob", "builtins.id"}


PARSERS = ("h5py", "jinja2", "lz4.frame", "py7zr.io", "psutil")


def main(paths: list[str], out: Path) -> None:
    for parser in PARSERS:  # an optional library that reads a format may import what it needs
        with contextlib.suppress(ImportError):
            importlib.import_module(parser)
    passes: list[list[list[str]]] = []
    watching = True

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not watching or event in _QUIET:
            return
        seen = passes[-1]
        match event, arguments:
            case "open", (path, mode, flags):
                if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) or (mode and set(str(mode)) & set("wax+")):
                    seen.append(["write", str(path)])
            case "import", (module, *_):
                seen.append(["import", str(module)])
            case "exec", (code,):
                seen.append(["exec", code.co_filename])
            case "compile", (_, filename):
                seen.append(["compile", str(filename)])
            case _:
                seen.append([event, str(arguments)[:200]])

    sys.addaudithook(hook)
    for _ in range(2):  # what a check imports when it first meets its format is not imported again
        passes.append([])
        for path in paths:
            scan(path)
    watching = False
    out.write_text(json.dumps(passes))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
