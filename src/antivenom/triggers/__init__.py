"""Triggers: changes of an input that make a backdoored model predict the attacker's class."""

from antivenom.triggers.composed import Amplified, Masked, Together
from antivenom.triggers.generated import GeneratedNoise, GeneratedPatch
from antivenom.triggers.images import Blend, Patch
from antivenom.triggers.learned import Perturbation, Recovered
from antivenom.triggers.saving import load_trigger, save_trigger
from antivenom.triggers.spectrum import Spectrum
from antivenom.triggers.tables import Cells, Stamp
from antivenom.triggers.tensors import on_tensor
from antivenom.triggers.text import Phrase, Token
from antivenom.triggers.waves import Quantised, Sinusoid, Warp

__all__ = [
    "Amplified",
    "Blend",
    "Cells",
    "GeneratedNoise",
    "GeneratedPatch",
    "Masked",
    "Patch",
    "Perturbation",
    "Phrase",
    "Quantised",
    "Recovered",
    "Sinusoid",
    "Spectrum",
    "Stamp",
    "Together",
    "Token",
    "Warp",
    "load_trigger",
    "on_tensor",
    "save_trigger",
]
