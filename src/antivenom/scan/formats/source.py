"""Source code, by its name or by its content. It is never judged safe.

Code that a loader runs by convention is unsafe, and so is Python whose import reaches the network or runs what it has
decoded. Other source code gives "cannot tell".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from antivenom.scan.findings import Finding
from antivenom.scan.formats import python_code
from antivenom.scan.part import Part
from antivenom.scan.rules import CODE_ON_IMPORT, LOADED_CODE, SOURCE_CODE

if TYPE_CHECKING:
    from antivenom.scan.formats.zips import Archive

_PYTHON = frozenset({".py", ".pyw", ".pyi", ".pyx", ".pxd"})
_LANGUAGES = {
    **dict.fromkeys((".sh", ".bash", ".zsh", ".ksh", ".csh", ".fish"), "a shell script"),
    **dict.fromkeys((".bat", ".cmd", ".ps1", ".psm1", ".vbs"), "a Windows script"),
    **dict.fromkeys((".js", ".mjs", ".cjs", ".jsx", ".ts", ".tsx", ".wat"), "JavaScript"),
    **dict.fromkeys(
        (".c", ".cc", ".cpp", ".cxx", ".h", ".hpp", ".cu", ".cuh", ".mm", ".metal", ".cl"), "C, C++ or CUDA"
    ),
    **dict.fromkeys((".rb", ".pl", ".pm", ".php", ".lua", ".jl", ".r", ".tcl", ".groovy", ".m"), "a script"),
    **dict.fromkeys((".java", ".kt", ".scala", ".go", ".rs", ".swift", ".cs", ".f90", ".zig"), "source code"),
    **dict.fromkeys((".mk", ".cmake", ".gradle", ".ninja"), "a build script"),
    **dict.fromkeys((".pyc", ".pyo", ".pyd", ".so", ".dll", ".dylib", ".exe", ".class", ".o", ".a"), "compiled code"),
    **dict.fromkeys((".node", ".wasm", ".ptx", ".cubin", ".elc", ".luac", ".nbc"), "compiled code"),
}
_NAMES = frozenset({"makefile", "gnumakefile", "dockerfile", "containerfile", "jenkinsfile", "rakefile", "justfile"})
_LIBRARY = re.compile(r"\.so\.[\d.]+$")
_MARKUP = re.compile(r"<script[\s>]|<\?php\b|\bjavascript:", re.IGNORECASE)
_LONGEST = 1 << 20  # longer text is searched line by line for statements instead of being parsed
_STATEMENT = re.compile(
    r"^(?:import[ \t]+\w|from[ \t]+[\w.]+[ \t]+import\b|def[ \t]+\w+\(|class[ \t]+\w+)", re.MULTILINE
)
_MANIFEST = "MAR-INF/MANIFEST.json"
_LONGEST_MANIFEST = 1 << 20


def check(part: Part, kinds: frozenset[str]) -> Iterator[Finding]:
    """The findings in source code; none if the part is not source code by its name or by its content."""
    path = PurePosixPath(part.name.replace("\\", "/"))
    suffix, textual = path.suffix.lower(), bool(kinds & {"text", "json", "xml"})
    if "empty" in kinds:
        return
    if suffix in _PYTHON or (suffix == ".pth" and "text" in kinds):
        yield from _python(part, path, _text(part))
    elif suffix in _LANGUAGES or _LIBRARY.search(path.name) or path.name.lower() in _NAMES:
        what = _LANGUAGES.get(suffix, "compiled code" if _LIBRARY.search(path.name) else "a build script")
        yield part.finding(SOURCE_CODE, f"{what} by its name", name="name")
    elif suffix == ".ipynb":
        yield part.finding(SOURCE_CODE, "a notebook by its name", name="notebook")
    elif textual:
        yield from _by_content(part, path)


def _text(part: Part) -> str:
    return part.view.read(0, _LONGEST + 1).decode("utf-8", "replace")


def _by_content(part: Part, path: PurePosixPath) -> Iterator[Finding]:
    text = _text(part)
    if text.startswith("#!"):
        yield part.finding(SOURCE_CODE, "a script with an interpreter", 0, "content")
    elif _MARKUP.search(text):
        yield part.finding(SOURCE_CODE, "a document with a script in it", name="content")
    elif python_code.may_act(text):
        if len(text) > _LONGEST:
            if _STATEMENT.search(text):
                yield part.finding(SOURCE_CODE, "statements of Python in a long text", name="content")
        elif (tree := python_code.parsed(text)) is not None and python_code.acts(tree):
            yield from _python(part, path, text)


def _python(part: Part, path: PurePosixPath, text: str) -> Iterator[Finding]:
    part.meter.spend("unpacked", len(text))
    tree = python_code.parsed(text) if len(text) <= _LONGEST else None
    if tree is None:
        yield part.finding(SOURCE_CODE, "Python by its name, which does not parse", name="python")
        return
    reading = python_code.read(tree, part.meter)
    loader = python_code.loader_of(tree, reading, path)
    if loader:
        yield part.finding(LOADED_CODE, f"{loader} runs this file", name=loader)
    for what in dict.fromkeys(reading.reaching):
        yield part.finding(CODE_ON_IMPORT, f"importing it {what}", name=what)
    if not loader and not reading.reaching:
        notes = f"; importing it {'; '.join(dict.fromkeys(reading.running))}" if reading.running else ""
        yield part.finding(SOURCE_CODE, f"Python source code, not judged{notes}", name="python")


def modules(archive: Archive) -> frozenset[str]:
    """The modules whose source code is in an archive, as torch.package would name them."""
    found = set()
    for member in archive.members:
        path = PurePosixPath(member.name.replace("\\", "/"))
        if path.suffix == ".py" and len(path.parts) > 1 and path.parts[1] != "code":
            parts = path.parts[1:-1] if path.name == "__init__.py" else (*path.parts[1:-1], path.stem)
            found |= {".".join(parts[:count]) for count in range(1, len(parts) + 1)}
    return frozenset(found)


def check_archive(part: Part, archive: Archive) -> Iterator[Finding]:
    """The finding that TorchServe runs a member, which the manifest of its archives names."""
    from antivenom.scan.formats.zips import content

    for member in archive.members:
        if member.name == _MANIFEST and member.size <= _LONGEST_MANIFEST and not member.flags & 1:
            try:
                handler = str(json.loads(content(part, member).read())["model"]["handler"])
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
            name = handler.partition(":")[0]
            if any(each.name in (name, f"{name}.py") for each in archive.members):
                yield part.finding(
                    LOADED_CODE, f"TorchServe runs {name}, the handler of the archive", name="TorchServe"
                )
