"""The call signatures of all kinds of plugin, and what each side may see. Read this file first.

Every attack and every defence is a function on one arrow of a pipeline: it takes the value on the arrow's left and returns
the value on its right.

    central     clean -[DataAttack]-> rows -[Sanitizer]-> rows -fit (its loss: LogicAttack)-> model -[Mitigation]-> model -[Gate]-> answers
                a RobustLearner replaces the fit; an Evasion changes what the finished model is shown
    transfer    pretrained -[ModelAttack]-> model -[ModelDetector]-> -fine-tune-> model -[Mitigation]-> model
    federated   shards -> local training -[Agent on k]-> updates (n, d) -[ClientDetector]-> -[Reducer]->
                (m, d) -[Aggregator]-> global model

Letters in shapes: n rows or agents, k malicious agents, d parameters, c classes, m a number of its own. The protocols are
structural: a plugin does not inherit from them, and core imports neither torch nor pandas for them.
A defence's arguments never hold the poison mask, the malicious ids, the true f or the test set.
"""

from antivenom.core.protocols.central import (
    AttackContext,
    DataAttack,
    DefenceContext,
    Evasion,
    Gate,
    InputFilter,
    LogicAttack,
    Mitigation,
    ModelAttack,
    ModelDetector,
    RobustLearner,
    Sanitizer,
    Trigger,
    Wanted,
)
from antivenom.core.protocols.data import Fingerprinted, Source, Unsplit
from antivenom.core.protocols.federated import (
    Agent,
    AgentView,
    Aggregator,
    Claims,
    ClientDetector,
    LinearAggregator,
    LinearReducer,
    LocalTraining,
    Need,
    Needs,
    Participation,
    Recalls,
    Reducer,
    Remembers,
    Sent,
    ServerView,
    Shard,
    StatefulAgent,
    StatefulAggregator,
    Targets,
    Trainer,
)
from antivenom.core.protocols.models import (
    Architecture,
    Augmentation,
    Estimator,
    Model,
    Schedule,
    ScikitLearn,
)
from antivenom.core.protocols.scenario import Checks, Known, Limits, Scenario, Tells

__all__ = [
    "Agent",
    "AgentView",
    "Aggregator",
    "Architecture",
    "AttackContext",
    "Augmentation",
    "Checks",
    "Claims",
    "ClientDetector",
    "DataAttack",
    "DefenceContext",
    "Estimator",
    "Evasion",
    "Fingerprinted",
    "Gate",
    "InputFilter",
    "Known",
    "Limits",
    "LinearAggregator",
    "LinearReducer",
    "LocalTraining",
    "LogicAttack",
    "Mitigation",
    "Model",
    "ModelAttack",
    "ModelDetector",
    "Need",
    "Needs",
    "Participation",
    "Recalls",
    "Reducer",
    "Remembers",
    "RobustLearner",
    "Sanitizer",
    "Scenario",
    "Schedule",
    "ScikitLearn",
    "Sent",
    "ServerView",
    "Shard",
    "Source",
    "StatefulAgent",
    "StatefulAggregator",
    "Targets",
    "Tells",
    "Trainer",
    "Trigger",
    "Unsplit",
    "Wanted",
]
