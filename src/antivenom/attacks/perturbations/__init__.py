"""Availability poisons that perturb every image and keep every label."""

from antivenom.attacks.perturbations.adversarial import AdversarialPoison
from antivenom.attacks.perturbations.confuse import DeepConfuse
from antivenom.attacks.perturbations.minimizing import ErrorMinimizingNoise
from antivenom.attacks.perturbations.shortcuts import ClassMeanShift, SeparableShortcuts

__all__ = ["AdversarialPoison", "ClassMeanShift", "DeepConfuse", "ErrorMinimizingNoise", "SeparableShortcuts"]
