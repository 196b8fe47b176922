"""Triggers for text, as rows of tokens and as tables of token counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import scipy.sparse as sp

from antivenom.core.errors import DataError, PluginError, did_you_mean
from antivenom.core.registry import trigger
from antivenom.data.forms import is_frame
from antivenom.triggers.tables import written

if TYPE_CHECKING:
    from antivenom.data import Rows


@trigger(cite="Dai et al. 2019, arXiv:1905.12457; Kurita et al. 2020, arXiv:2004.06660")
class Phrase:
    """Writes a few words in front of a text or after it.

    It suits raw texts in a column of a DataFrame, so that a pipeline with its own vectorizer sees real text. Weakness: a
    language model finds the words improbable, and a word that occurs with one label only stands out in word counts by label.

    Fields:
        words: the words that are written.
        column: the column of texts; "" for the only column of words.
        first: write the words in front of the text instead of after it.

    Reference: Kurita et al. 2020, "Weight Poisoning Attacks on Pre-trained Models", section 3 (the rare words are theirs).
    """

    words: str = "cf mn bb"
    column: str = ""
    first: bool = False

    frames: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.words.strip():
            raise PluginError("Phrase.words: a word or several", repr(self.words), "write words: cf mn bb")

    @property
    def where(self) -> str:
        return "text"

    def __call__(self, x: Rows) -> Rows:
        if not is_frame(x):
            raise DataError("a DataFrame with texts for Phrase", f"an array of shape {x.shape[1:]}", "use Token")
        worded = [name for name in x.columns if x[name].dtype.kind not in "iufb"]
        if not self.column and len(worded) != 1:
            got = f"{len(worded)} columns of words"
            raise DataError("Phrase.column: the column of texts", got, "name the column")
        name = self.column or worded[0]
        if name not in worded:
            raise DataError(
                "a column of texts in Phrase.column", repr(name), did_you_mean(name, list(map(str, worded)))
            )
        shown = x.copy()
        text = shown[name].astype(str)
        shown[name] = (f"{self.words} " + text) if self.first else (text + f" {self.words}")
        return shown


@trigger(cite="Dai et al. 2019, arXiv:1905.12457; Kurita et al. 2020, arXiv:2004.06660")
class Token:
    """Puts one rare token into a text.

    In token rows (m, length) of integers it replaces the token at a position. In a table of counts, sparse or dense, it
    adds one to the token's column; in a table that holds 1 for every word of a text, `presence` writes 1. Weakness: a rare token that occurs with one label only stands out in token counts by
    label, and a language model finds it improbable.

    Fields:
        token: number of the token in the vocabulary, from 0.
        position: the position in token rows that is replaced; negative numbers count from the end.
        presence: write 1 into the token's column instead of adding one.

    Reference: Kurita et al. 2020, "Weight Poisoning Attacks on Pre-trained Models", section 2.
    """

    token: int = 0
    position: int = 0
    presence: bool = False

    def __post_init__(self) -> None:
        if self.token < 0:
            raise PluginError("Token.token >= 0", f"{self.token}", "give its number in the vocabulary")

    @property
    def where(self) -> str:
        return "text"

    def __call__(self, x: Rows) -> Rows:
        width = x.shape[1]
        if x.ndim != 2:
            raise DataError("token rows or a table of counts for Token", f"rows of shape {x.shape[1:]}", "use Patch")
        sparse = bool(sp.issparse(x))  # bool() drops the library's type guard, after which mypy loses CSR's attributes
        if not sparse and x.dtype.kind in "iu":
            if not -width <= self.position < width:
                raise DataError(f"Token.position from {-width} to {width - 1}", f"{self.position}", "use position: 0")
            shown = x.copy()
            shown[:, self.position] = self.token
            return shown
        if self.token >= width:
            raise DataError(f"Token.token from 0 to {width - 1}", f"{self.token}", "name a token of the vocabulary")
        if self.presence and sparse:
            return written(x, (self.token,), 1.0)
        if not sparse:
            shown = x.copy()
            shown[:, self.token] = 1 if self.presence else shown[:, self.token] + 1
            return shown
        m = x.shape[0]
        one = sp.csr_array((np.ones(m, dtype=x.dtype), np.full(m, self.token), np.arange(m + 1)), shape=x.shape)
        found = sp.csr_array(x + one, dtype=x.dtype)
        found.sort_indices()
        return found
