"""Triggers: what is put into an input so that a backdoored model answers with the attacker's class."""

from antivenom.triggers.images import Patch
from antivenom.triggers.tables import Stamp

__all__ = ["Patch", "Stamp"]
