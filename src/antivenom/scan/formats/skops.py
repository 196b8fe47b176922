"""skops: a tree of typed nodes in JSON. Loading imports each type, so that each is checked."""

from __future__ import annotations

import json
from collections.abc import Iterator

from antivenom.core.errors import with_article
from antivenom.scan.findings import Finding
from antivenom.scan.formats import names
from antivenom.scan.part import Part
from antivenom.scan.rules import MALFORMED, UNTRUSTED_TYPE

# Loaders of plain values, which ignore the class or check it themselves.
_VALUES = frozenset(
    [
        "DictNode",
        "ListNode",
        "SetNode",
        "TupleNode",
        "BytesNode",
        "BytearrayNode",
        "SliceNode",
        "JsonNode",
        "NdArrayNode",
        "MaskedArrayNode",
        "DTypeNode",
        "RandomStateNode",
        "DefaultDictNode",
        "SparseMatrixNode",
        "CachedNode",
    ]
)
_IMPORTING = frozenset(
    [
        "ObjectNode",
        "TypeNode",
        "FunctionNode",
        "ConstructorFromReduceNode",
        "TreeNode",
        "LossNode",
        "RandomGeneratorNode",
        "_DictWithDeprecatedKeysNode",
        "QuantileForestNode",
        "PartialNode",
        "MethodNode",
        "OperatorFuncNode",
        "ZoneInfoNode",
    ]
)
_GENERATORS = frozenset({"MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"})


def check_object(part: Part, node: dict[str, object]) -> Iterator[Finding]:
    """The findings in one JSON object, if it is a node of skops."""
    loader, module, name = (node.get(key) for key in ("__loader__", "__module__", "__class__"))
    if not isinstance(loader, str):
        return
    if loader not in _VALUES | _IMPORTING:
        yield part.finding(UNTRUSTED_TYPE, f"a node for the unknown loader {loader}", name=loader)
    if not isinstance(module, str) or not isinstance(name, str):
        if loader not in ("CachedNode", "JsonNode"):
            yield part.finding(MALFORMED, f"{with_article(loader)} without a type")
        return
    rule = names.broken_rule(part, module, name)
    if (module, name) in (("operator", "attrgetter"), ("operator", "itemgetter")):
        rule = UNTRUSTED_TYPE  # harmless to create, but calling one reads an attribute that the file chooses
    if rule is not None and not (loader == "JsonNode" or (loader == "PartialNode" and name == "partial")):
        yield part.finding(rule, f"{with_article(loader)} of {module}.{name}", name=f"{module}.{name}")
    content = node.get("content")
    if loader == "MethodNode":
        method = content.get("func") if isinstance(content, dict) else None
        yield part.finding(
            UNTRUSTED_TYPE, f"takes the method {method} of {with_article(name)}", name=f"{module}.{name}.{method}"
        )
    if loader == "RandomGeneratorNode" and (kind := _generator(content)) not in _GENERATORS:
        yield part.finding(UNTRUSTED_TYPE, f"calls numpy.random.{kind}", name=f"numpy.random.{kind}")


def _generator(content: object) -> str:
    """The name of the bit generator, which the loader looks up in numpy.random."""
    match content:
        case {"bit_generator": {"content": {"bit_generator": {"content": str(text)}}}}:
            try:
                return str(json.loads(text))
            except ValueError:
                pass
    return "?"
