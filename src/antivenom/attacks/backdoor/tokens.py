"""Rare tokens in texts as triggers, with the number of poisoned texts as the setting."""

from __future__ import annotations

import numpy as np

from antivenom.attacks.backdoor.planting import drawn, planted, rows_to_turn
from antivenom.attacks.inputs import backdoor
from antivenom.core.errors import NotApplicable, PluginError
from antivenom.core.protocols import AttackContext, Trigger
from antivenom.core.registry import attack
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset, Poison
from antivenom.data.forms import stacked
from antivenom.triggers import Together, Token


@attack(
    access=(Access.DATA_INJECTION, Access.DATA_MANIPULATION),
    goal=Goal.BACKDOOR,
    cite="Dai et al. 2019, arXiv:1905.12457; Kurita et al. 2020, arXiv:2004.06660; Souly et al. 2025",
)
class TokenPoison:
    """Plants a rare token in a fixed number of texts and gives them the wanted label.

    The setting is a count and not a share, because the number of poisoned texts that a backdoor needs may depend little on the
    size of the corpus. It needs the trigger Token, or Together with several Tokens, of which each text gets one in turn; at test
    time a text shows all of them. It works on token rows and on sparse or dense tables of words. Weakness: a token that occurs
    with one label only has one of the largest weights of a linear model, and a screen of tokens by label finds it.

    Fields:
        texts: number of poisoned texts.
        all_tokens: put all tokens into each text instead of one in turn.

    Reference: Kurita, Michel and Neubig 2020, "Weight Poisoning Attacks on Pre-trained Models", arXiv:2004.06660 (several rare
    tokens); Souly et al. 2025, "Poisoning Attacks on LLMs Require a Near-constant Number of Poison Samples".
    """

    texts: int = 50
    all_tokens: bool = False

    def __post_init__(self) -> None:
        if self.texts < 0:
            raise PluginError("TokenPoison.texts >= 0", f"{self.texts}")

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        wanted, trigger = backdoor(context, self)
        parts = _tokens(trigger)
        eligible, labels = rows_to_turn(data, wanted)
        rows = drawn(eligible, self.texts, context)
        if not len(rows):
            return Poison.none(data)
        if self.all_tokens or len(parts) == 1:
            return planted(data, rows, trigger(data[rows].x), labels[rows], context)
        turns = [np.arange(k, len(rows), len(parts)) for k in range(min(len(parts), len(rows)))]
        x = parts[0](data[rows[turns[0]]].x)
        for part, turn in zip(parts[1:], turns[1:], strict=False):
            x = stacked(x, part(data[rows[turn]].x))
        order = np.concatenate(turns)
        return planted(data, rows[order], x, labels[rows[order]], context)


def _tokens(trigger: Trigger) -> tuple[Trigger, ...]:
    """The single tokens of a trigger.

    Raises:
        NotApplicable: a trigger of another kind.
    """
    parts = trigger.triggers if isinstance(trigger, Together) else (trigger,)
    for part in parts:
        if not isinstance(part, Token):
            raise NotApplicable("the trigger Token, or Together with Tokens, for TokenPoison", type(part).__name__)
    return parts
