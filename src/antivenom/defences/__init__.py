"""Defences on rows and on models. Aggregation rules and client detectors live in `antivenom.federated`."""

from antivenom.defences.acceptance.margins import MMBD
from antivenom.defences.acceptance.neural_cleanse import NeuralCleanse
from antivenom.defences.acceptance.perturbations import SmallestPerturbation
from antivenom.defences.acceptance.sweep import PatchSweep
from antivenom.defences.acceptance.weights import WeightScreen
from antivenom.defences.gates.corrupted import TeCo
from antivenom.defences.gates.onion import ONION
from antivenom.defences.gates.rap import RAP
from antivenom.defences.gates.scaling import IBDPSC, ScaleUp
from antivenom.defences.gates.strip import STRIP
from antivenom.defences.gates.topology import TED
from antivenom.defences.learners.decoupling import DBD
from antivenom.defences.learners.defensive import NAB
from antivenom.defences.learners.isolation import ABL
from antivenom.defences.learners.mixing import CutMix, MixUp
from antivenom.defences.learners.sensitivity import DBR
from antivenom.defences.learners.spam import AdversaryAwareNaiveBayes, DynamicThresholds
from antivenom.defences.learners.trim import TRIM, TrimmedRegressor
from antivenom.defences.repair.adversarial import IBAU, SAU
from antivenom.defences.repair.distillation import NAD
from antivenom.defences.repair.masks import ANP, RNP
from antivenom.defences.repair.pruning import BNP, CLP, FinePruning
from antivenom.defences.repair.shrinking import ShrinkPad
from antivenom.defences.repair.tuning import FST, FTSAM, FineTuning
from antivenom.defences.repair.unlearning import TriggerUnlearning
from antivenom.defences.sanitizers.activations import ActivationClustering
from antivenom.defences.sanitizers.combinators import AllOf
from antivenom.defences.sanitizers.confident import ConfidentLearning, LabelNoiseModel
from antivenom.defences.sanitizers.confusion import ConfusionTraining
from antivenom.defences.sanitizers.distances import KNNDistanceSanitizer, SlabSanitizer, SphereSanitizer
from antivenom.defences.sanitizers.distillation import CognitiveDistillation
from antivenom.defences.sanitizers.gram import Beatrix
from antivenom.defences.sanitizers.losses import SEVER, LossSanitizer
from antivenom.defences.sanitizers.micromodels import Micromodels
from antivenom.defences.sanitizers.mixtures import SCAn
from antivenom.defences.sanitizers.neighbours import KNNSanitizer
from antivenom.defences.sanitizers.probe import LinearProbe
from antivenom.defences.sanitizers.reference import DeepKNN, ReferenceDistance
from antivenom.defences.sanitizers.roni import RONI, ProvenanceGroups
from antivenom.defences.sanitizers.spectral import SPECTRE, SpectralSignatures
from antivenom.defences.sanitizers.subspace import SVDSanitizer
from antivenom.defences.sanitizers.tokens import TokenScreen
from antivenom.defences.sanitizers.trivial import FlagAll, FlagNone

__all__ = [
    "ABL",
    "ANP",
    "BNP",
    "CLP",
    "DBD",
    "DBR",
    "FST",
    "FTSAM",
    "IBAU",
    "IBDPSC",
    "MMBD",
    "NAB",
    "NAD",
    "ONION",
    "RAP",
    "RNP",
    "RONI",
    "SAU",
    "SEVER",
    "SPECTRE",
    "STRIP",
    "TED",
    "TRIM",
    "ActivationClustering",
    "AdversaryAwareNaiveBayes",
    "AllOf",
    "Beatrix",
    "CognitiveDistillation",
    "ConfidentLearning",
    "ConfusionTraining",
    "CutMix",
    "DeepKNN",
    "DynamicThresholds",
    "FinePruning",
    "FineTuning",
    "FlagAll",
    "FlagNone",
    "KNNDistanceSanitizer",
    "KNNSanitizer",
    "LabelNoiseModel",
    "LinearProbe",
    "LossSanitizer",
    "Micromodels",
    "MixUp",
    "NeuralCleanse",
    "PatchSweep",
    "ProvenanceGroups",
    "ReferenceDistance",
    "SCAn",
    "SVDSanitizer",
    "ScaleUp",
    "ShrinkPad",
    "SlabSanitizer",
    "SmallestPerturbation",
    "SpectralSignatures",
    "SphereSanitizer",
    "TeCo",
    "TokenScreen",
    "TriggerUnlearning",
    "TrimmedRegressor",
    "WeightScreen",
]
