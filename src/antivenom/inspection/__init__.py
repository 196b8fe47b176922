"""Is a finished model backdoored? Its scan, its structure and its behaviour, beside clean reference models."""

from antivenom.inspection.inspecting import References, inspect
from antivenom.inspection.result import Answer, Check, Inspection, Repaired, Suspect

__all__ = ["Answer", "Check", "Inspection", "References", "Repaired", "Suspect", "inspect"]
