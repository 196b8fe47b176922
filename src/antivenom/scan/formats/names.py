"""Names that a file other than a pickle asks its loader to import."""

from __future__ import annotations

from antivenom.scan.danger import danger
from antivenom.scan.part import Part
from antivenom.scan.rules import IMPORTED_NAME, UNTRUSTED_TYPE, Rule
from antivenom.scan.stubs import Global


def broken_rule(part: Part, module: str, name: str) -> Rule | None:
    """The rule that an import of `module.name` breaks; None if the allow list has the name."""
    if part.allow.broken_rule(Global(module, name)) is None:
        return None
    return IMPORTED_NAME if danger(module, name) else UNTRUSTED_TYPE
