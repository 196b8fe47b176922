"""Malicious agents: each is a value that turns an AgentView into the updates (k, d) it sends."""

from antivenom.federated.agents.adaptive import LineSearch, NormBounded, Scaled
from antivenom.federated.agents.alie import ALIE, ALIEBackdoor
from antivenom.federated.agents.alternating import AlternatingMinimization
from antivenom.federated.agents.backdoors import ClientBadNets, ConstrainAndScale, ModelReplacement
from antivenom.federated.agents.boosting import ExplicitBoosting, ImplicitBoosting
from antivenom.federated.agents.byzantine import IPM, GaussianNoise, LabelFlip, Mimic, NonFinite, SignFlip
from antivenom.federated.agents.combinators import BenignEstimation, Delayed, HoldOff, WithHonest
from antivenom.federated.agents.dirty_label import DirtyLabel
from antivenom.federated.agents.dishonest import FalseExamples, FewerEpochs, FreeRider, Sybils
from antivenom.federated.agents.extremes import MinMaxDistance, MinSumDistance
from antivenom.federated.agents.fang import FangKrum, FangMedian, FangTrimmedMean
from antivenom.federated.agents.lasting import DBA, EdgeCase, Neurotoxin
from antivenom.federated.agents.poisoned_fl import PoisonedFL
from antivenom.federated.agents.stealthy import StealthyPoisoning
from antivenom.federated.agents.teams import Colluding, Every

__all__ = [
    "ALIE",
    "DBA",
    "IPM",
    "ALIEBackdoor",
    "AlternatingMinimization",
    "BenignEstimation",
    "ClientBadNets",
    "Colluding",
    "ConstrainAndScale",
    "Delayed",
    "DirtyLabel",
    "EdgeCase",
    "Every",
    "ExplicitBoosting",
    "FalseExamples",
    "FangKrum",
    "FangMedian",
    "FangTrimmedMean",
    "FewerEpochs",
    "FreeRider",
    "GaussianNoise",
    "HoldOff",
    "ImplicitBoosting",
    "LabelFlip",
    "LineSearch",
    "Mimic",
    "MinMaxDistance",
    "MinSumDistance",
    "ModelReplacement",
    "Neurotoxin",
    "NonFinite",
    "NormBounded",
    "PoisonedFL",
    "Scaled",
    "SignFlip",
    "StealthyPoisoning",
    "Sybils",
    "WithHonest",
]
