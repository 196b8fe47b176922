"""`CALLS` maps a kind of plugin to a generator of calls, each of which `check_plugin` makes twice and compares."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from antivenom.core.registry import Entry, Kind
from antivenom.testing.central import (
    data_attack_calls,
    evasion_calls,
    gate_calls,
    logic_attack_calls,
    mitigation_calls,
    model_attack_calls,
    model_detector_calls,
    robust_learner_calls,
    sanitizer_calls,
)
from antivenom.testing.federation import agent_calls, aggregator_calls, client_detector_calls, reducer_calls
from antivenom.testing.goals_and_scenarios import goal_calls, scenario_calls
from antivenom.testing.parts import (
    architecture_calls,
    augmentation_calls,
    estimator_calls,
    feature_map_calls,
    local_training_calls,
    partition_calls,
    schedule_calls,
    source_calls,
    trigger_calls,
    wanted_calls,
)
from antivenom.testing.samples import Check

CALLS: dict[Kind, Callable[[Any, Entry], Iterator[Check]]] = {
    Kind.DATA_ATTACK: data_attack_calls,
    Kind.MODEL_ATTACK: model_attack_calls,
    Kind.LOGIC_ATTACK: logic_attack_calls,
    Kind.EVASION: evasion_calls,
    Kind.AGENT: agent_calls,
    Kind.SANITIZER: sanitizer_calls,
    Kind.ROBUST_LEARNER: robust_learner_calls,
    Kind.MODEL_DETECTOR: model_detector_calls,
    Kind.MITIGATION: mitigation_calls,
    Kind.GATE: gate_calls,
    Kind.CLIENT_DETECTOR: client_detector_calls,
    Kind.AGGREGATOR: aggregator_calls,
    Kind.REDUCER: reducer_calls,
    Kind.TRIGGER: trigger_calls,
    Kind.WANTED: wanted_calls,
    Kind.PARTITION: partition_calls,
    Kind.LOCAL_TRAINING: local_training_calls,
    Kind.ARCHITECTURE: architecture_calls,
    Kind.ESTIMATOR: estimator_calls,
    Kind.SCHEDULE: schedule_calls,
    Kind.AUGMENTATION: augmentation_calls,
    Kind.FEATURE_MAP: feature_map_calls,
    Kind.GOAL: goal_calls,
    Kind.SCENARIO: scenario_calls,
    Kind.SOURCE: source_calls,
}
