"""Poisoning of spam filters by mails on which the user will train the filter."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from antivenom.attacks.availability.words import filed, in_words
from antivenom.attacks.inputs import check_share, count, injected
from antivenom.core.errors import DataError, PluginError, did_you_mean
from antivenom.core.protocols import AttackContext
from antivenom.core.registry import attack
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset, Poison
from antivenom.models.spambayes import HAM, SPAM, check_mails, presence

WORDS = ("optimal", "ham-frequent", "list")


@attack(access=(Access.DATA_INJECTION,), goal=Goal.AVAILABILITY, cite="Nelson et al. 2008, LEET (dictionary attack)")
class DictionaryAttack:
    """Adds mails that contain a whole word list and are filed as spam, so that all these words become indicators of spam.

    The score of a token only rises if spam contains it. So a mail with all tokens is the optimal indiscriminate attack, and
    a list of words from ham comes close. Where the rows are texts, the mail is a text of these words; other columns are those of
    real rows, in turn. Weakness: a mail with so many words is conspicuous, and each one measurably lowers the accuracy
    (RONI). Dynamic thresholds keep ham out of the spam folder. A pipeline that scales each text to length 1 hardly notices a
    long one, so that the most frequent words alone do more there.

    Fields:
        poisoned_rate: mails added, as a share of the training mails, 0 to 1.
        words: "optimal" for all tokens; "ham-frequent" for the most frequent tokens in the ham of the attacker (or of the
            training rows, if the attacker has no rows); "list" for `columns`.
        size: number of tokens of the ham-frequent list.
        columns: indices of the tokens of the list, from 0; not for texts.
        label: the class under which the mails are filed. Ham is the rows of all other classes.

    Reference: Nelson et al. 2008, "Exploiting Machine Learning to Subvert Your Spam Filter", LEET, section 3.2.
    """

    poisoned_rate: float = 0.01
    words: str = "optimal"
    size: int = 20_000
    columns: tuple[int, ...] = ()
    label: int = SPAM

    def __post_init__(self) -> None:
        check_share(self.poisoned_rate, "DictionaryAttack.poisoned_rate")
        if self.words not in WORDS:
            raise PluginError("DictionaryAttack.words by name", repr(self.words), did_you_mean(self.words, WORDS))
        if self.size < 1 or min(self.columns, default=0) < 0 or self.label < 0:
            got = f"{self.size}, {min(self.columns, default=0)} and {self.label}"
            raise PluginError("size >= 1, and columns and label from 0", got)
        if (self.words == "list") != bool(self.columns):
            raise PluginError("columns with words: list, and only there", f"{len(self.columns)} with {self.words}")

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        if self.label >= data.num_classes:
            raise DataError(f"DictionaryAttack.label below {data.num_classes}", f"{self.label}")
        known = context.rows if self.words == "ham-frequent" and context.rows is not None else data
        table = in_words(known, self)
        listed = np.unique(self._listed(table))
        width = table.flat.shape[1]
        if listed[-1] >= width:
            raise DataError(f"DictionaryAttack.columns below {width}", f"{listed[-1]}")
        mail = sp.csr_array((np.ones(len(listed), np.float32), listed, [0, len(listed)]), shape=(1, width))
        mails = mail[np.zeros(count(self.poisoned_rate, len(data)), dtype=int)]
        return filed(data, mails, self.label, table, context)

    def _listed(self, table: Dataset) -> np.ndarray:
        if self.words == "list":
            return np.array(self.columns)
        if self.words == "optimal":
            return np.arange(table.flat.shape[1])
        ham = table[table.y != self.label]
        if not len(ham):
            raise DataError("rows of another class for DictionaryAttack", "none", "grant attacker_rows")
        frequency = presence(ham.flat).sum(axis=0)
        order = np.argsort(-frequency, kind="stable")[: self.size]
        return np.asarray(order[frequency[order] > 0])


@attack(access=(Access.DATA_INJECTION,), goal=Goal.AVAILABILITY, cite="Nelson et al. 2008, LEET (focused attack)")
class FocusedAttack:
    """Adds spam that contains guessed tokens of future ham, so that the filter will stop this ham.

    The targets are all ham mails among the attacker's rows, or one ham mail of the training rows if there are none. With
    `test_known` they are test rows, and the judge reports the result on them separately. The added mails are divided
    evenly among the targets. Weakness: wrong guesses have no effect, nor do tokens that are frequent in other ham.

    Fields:
        poisoned_rate: mails added, as a share of the training mails, 0 to 1.
        guess_rate: probability that a token of the target is guessed, 0 to 1.

    Reference: Nelson et al. 2008, "Exploiting Machine Learning to Subvert Your Spam Filter", LEET, section 3.3.
    """

    poisoned_rate: float = 0.01
    guess_rate: float = 0.5

    def __post_init__(self) -> None:
        check_share(self.poisoned_rate, "FocusedAttack.poisoned_rate")
        check_share(self.guess_rate, "FocusedAttack.guess_rate")

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        check_mails(data, self)
        rng = context.streams.numpy("guesses")
        if context.rows is not None:
            targets = of_class(context.rows, HAM, self)
        else:
            ham = of_class(data, HAM, self)
            targets = ham[rng.integers(len(ham), size=1)]
        targets = in_words(targets, self)
        guessed = presence(targets.flat).astype(np.float32)
        guessed.data *= (
            rng.random(guessed.nnz) < self.guess_rate
        )  # drawn once, so that all mails for one target contain the same guess
        guessed.eliminate_zeros()
        mails = guessed[np.resize(np.arange(len(targets)), count(self.poisoned_rate, len(data)))]
        return filed(data, mails, SPAM, targets, context)


@attack(access=(Access.DATA_INJECTION,), goal=Goal.AVAILABILITY, cite="Nelson et al. 2009, Misleading Learners")
class Pseudospam:
    """Adds mails with the tokens of spam, which the user files as ham, so that spam is delivered.

    Weakness: it needs a user, or an automatic rule, that files such mails as ham. Their neighbours have the other label,
    which reveals them.

    Fields:
        poisoned_rate: mails added, as a share of the training mails, 0 to 1. They repeat the spam of the attacker (or of
            the training rows, if the attacker has no rows), each mail equally often.

    Reference: Nelson et al. 2009, "Misleading Learners: Co-opting Your Spam Filter", in Machine Learning in Cyber Trust.
    """

    poisoned_rate: float = 0.1

    def __post_init__(self) -> None:
        check_share(self.poisoned_rate, "Pseudospam.poisoned_rate")

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        check_mails(data, self)
        own = of_class(context.rows or data, SPAM, self)
        order = context.streams.numpy("copies").permutation(len(own))
        mails = own[np.resize(order, count(self.poisoned_rate, len(data)))]
        return injected(data, mails.x if data.is_frame else mails.flat, np.full(len(mails), HAM))


def of_class(data: Dataset, label: int, attack: object) -> Dataset:
    """The rows of one class. Raises DataError if there are none."""
    found = data[data.y == label]
    if not len(found):
        raise DataError(f"rows of class {label} for {type(attack).__name__}", "none", "grant attacker_rows")
    return found
