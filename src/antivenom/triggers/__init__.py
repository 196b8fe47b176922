"""Triggers: changes of an input that make a backdoored model predict the attacker's class."""

from antivenom.triggers.images import Patch
from antivenom.triggers.tables import Stamp

__all__ = ["Patch", "Stamp"]
