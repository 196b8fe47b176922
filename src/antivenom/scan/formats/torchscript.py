"""The source code of TorchScript: a small language without imports that can call every registered operator."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from antivenom.scan.findings import Finding
from antivenom.scan.part import Part
from antivenom.scan.reader import malformed
from antivenom.scan.rules import CUSTOM_OPERATION, UNSAFE_OPERATION

_LONGEST = 1 << 26
_TOKEN = re.compile(r"""(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|(?P<name>[^\W\d]\w*)|(?P<mark>[.(),])""")
# aten::save, aten::from_file and those of torchvision, which an alias of `torch` or a getattr can reach as well.
TOUCHING = frozenset({"save", "from_file", "read_file", "write_file", "_read_file", "load_library"})
KNOWN = frozenset(
    [
        "aten",
        "prim",
        "prims",
        "quantized",
        "_quantized",
        "quantization",
        "torchvision",
        "image",
        "sparse",
        "mkldnn",
        "mkldnn_prepacked",
        "mkl",
        "onednn",
        "profiler",
        "prepacked",
        "static_runtime",
        "inductor",
        "inductor_prims",
        "export",
        "torchaudio",
        "onnx",
        "rngprims",
        "xnnpack",
    ]
)
_DECLARED = re.compile(r"\s*(?::|=(?!=))")
_CLASSES = frozenset(["quantized", "rnn", "sparse", "xnnpack", "profiler"])


def check(part: Part) -> Iterator[Finding]:
    """Findings for operators that access files, and for operators and classes of other libraries than PyTorch."""
    if len(part.view) > _LONGEST:
        raise malformed("source code that is too long")
    part.meter.spend("unpacked", len(part.view))
    text = part.view.read().decode("utf-8", "replace")
    tokens = list(_TOKEN.finditer(text))
    part.meter.spend("opcodes", len(tokens))
    words = [token.group() for token in tokens]
    local = False  # whether `ops` is a variable of the function
    for index, token in enumerate(tokens):
        before, after = (words[index - 1] if index else ""), words[index + 1 : index + 5]
        family = after[1] if after[:1] == ["."] and len(after) > 1 else "?"
        match token.lastgroup, token.group():
            case "name", "def":
                local = False
            case "name", name if name in TOUCHING and before == ".":
                yield part.finding(UNSAFE_OPERATION, f"calls {name}", token.start(), name)
            case "name", "getattr" if after[:1] == ["("]:
                yield from _reached(part, tokens, index)
            case "name", "ops" if _DECLARED.match(text, token.end()):
                local = True
            case "name", "ops" if before != "." and not local and family not in KNOWN:
                yield part.finding(CUSTOM_OPERATION, f"an operator of {family}", token.start(), ".".join(after[1:4:2]))
            case "name", "classes" if words[index - 2 : index] == ["torch", "."] and family not in _CLASSES:
                yield part.finding(CUSTOM_OPERATION, f"a class of {family}", token.start(), ".".join(after[1:4:2]))


def _reached(part: Part, tokens: list[re.Match[str]], index: int) -> Iterator[Finding]:
    """Findings for a getattr, whose name can be several adjacent string literals."""
    name, end = "", min(index + 60, len(tokens))
    for token in tokens[index + 2 : end]:
        if token.group() == ")":
            break
        if token.lastgroup == "text":
            name += str(ast.literal_eval(token.group()))
    if name in TOUCHING or not name:
        yield part.finding(UNSAFE_OPERATION, f"gets the attribute {name or '?'}", tokens[index].start(), name)
