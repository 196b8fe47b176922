"""Availability attacks that perturb images and keep all labels."""

from antivenom.attacks.availability.perturbations.adversarial import AdversarialPoison
from antivenom.attacks.availability.perturbations.confuse import DeepConfuse
from antivenom.attacks.availability.perturbations.minimizing import ErrorMinimizingNoise
from antivenom.attacks.availability.perturbations.shortcuts import ClassMeanShift, SeparableShortcuts

__all__ = ["AdversarialPoison", "ClassMeanShift", "DeepConfuse", "ErrorMinimizingNoise", "SeparableShortcuts"]
