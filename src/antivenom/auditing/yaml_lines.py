"""YAML that remembers the line of every key and list item, so that an error can name it.

A file is read within limits of length, nesting and number of values, since a few lines with aliases can stand for any number
of values. Keys and values are words, numbers, true, false and null; dates are words.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import yaml

from antivenom.core.errors import AntivenomError, PluginError, ScenarioError

Path = tuple[str | int, ...]
MOST_CHARACTERS, MOST_LEVELS, MOST_VALUES = 1_000_000, 20, 100_000
_MOST_DIGITS = 18  # a whole number of so many digits fits into 64 bits
_TAG = "tag:yaml.org,2002:"
_COLLECTIONS = (f"{_TAG}map", f"{_TAG}seq")
_WORDS = tuple(_TAG + name for name in ("str", "timestamp", "merge", "value"))
_CONSTRUCTED = {f"{_TAG}null": "null", f"{_TAG}bool": "true or false", f"{_TAG}int": "a whole number"}
_CONSTRUCTED[f"{_TAG}float"] = "a number"


class _Loader(yaml.SafeLoader):
    """PyYAML's loader, which stops at `MOST_LEVELS` instead of exhausting Python's stack."""

    levels = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.levels += 1
        if self.levels > MOST_LEVELS:
            raise _TooDeep(self.peek_event().start_mark.line + 1)  # type: ignore[no-untyped-call]
        node = super().compose_node(parent, index)
        self.levels -= 1
        return node


class _TooDeep(Exception):
    """A value below `MOST_LEVELS` lists and mappings; the argument is its line."""


class Located:
    """A parsed YAML document with the line numbers of its parts.

    Attributes:
        content: the document as plain Python values.
        name: the file's name, for messages.

    Raises:
        ScenarioError: invalid YAML, more than the limits allow, a repeated key, a key that is a list or a mapping, a tag, or
            an alias that contains itself.
    """

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        self._lines: dict[Path, int] = {}
        self._values = 0
        if len(text) > MOST_CHARACTERS:
            raise ScenarioError(f"at most {MOST_CHARACTERS} characters", f"{len(text)}", "divide the file").at(name)
        try:
            node = yaml.compose(text, Loader=_Loader)
        except _TooDeep as error:
            raise self._too_deep(f"{name} line {error.args[0]}") from None
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise ScenarioError("valid YAML", error.problem or "something else", "check indentation and colons").at(
                f"{name} line {line}"
            ) from error
        except yaml.reader.ReaderError as error:  # a control character, or half of a surrogate pair
            line = text.count("\n", 0, error.position) + 1
            got = f"the character {error.character!r}"
            raise ScenarioError("valid YAML", got, "save the file as UTF-8 text").at(f"{name} line {line}") from error
        self.content = None if node is None else self._value(node, ())

    def _value(self, node: yaml.Node, path: Path) -> object:
        self._lines.setdefault(path, node.start_mark.line + 1)
        self._values += 1
        if self._values > MOST_VALUES:
            got = "more, with those that its aliases stand for"
            raise ScenarioError(f"at most {MOST_VALUES} values in a file", got, "remove some").at(self.place(path))
        if len(path) > MOST_LEVELS:  # an alias that contains itself would recurse for ever
            raise self._too_deep(self.place(path))
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, self.place(path))
        if node.tag not in _COLLECTIONS:
            raise ScenarioError("plain lists and mappings", f"the tag {node.tag}", "remove the tag").at(
                self.place(path)
            )
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*path, index)) for index, item in enumerate(node.value)]
        mapping: dict[str | int, object] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, path)
            self._lines[(*path, key)] = key_node.start_mark.line + 1
            if key in mapping:
                raise ScenarioError("each field once", f"{key!r} again", "remove one").at(self.place((*path, key)))
            mapping[key] = self._value(value_node, (*path, key))
        return mapping

    def _key(self, node: yaml.Node, path: Path) -> str | int:
        """A key of the mapping at `path`: a word or a whole number. Other scalars are taken as they are written."""
        line = node.start_mark.line + 1
        place = f"{self.name} line {line}{self._dotted(path)}"
        if not isinstance(node, yaml.ScalarNode):
            got = "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
            raise ScenarioError("a word as a key", got, "write `field: value`").at(place)
        found = self._scalar(node, place)
        return found if type(found) in (str, int) else str(node.value)  # type: ignore[return-value]

    def _scalar(self, node: yaml.ScalarNode, place: str) -> object:
        """The value of a scalar: a word, a number, a truth value or None."""
        text = str(node.value)
        if node.tag in _WORDS:
            if any("\ud800" <= character <= "\udfff" for character in text):
                raise ScenarioError("text in UTF-8", f"half a character in {text!r}", "save it as UTF-8").at(place)
            return text
        if node.tag not in _CONSTRUCTED:
            raise ScenarioError("a plain value", f"the tag {node.tag}", "remove the tag").at(place)
        if node.tag == f"{_TAG}int" and len(text) > _MOST_DIGITS + 1:
            got = f"one of {len(text)} characters"
            raise ScenarioError(f"a whole number of at most {_MOST_DIGITS} digits", got, "write a smaller one").at(
                place
            )
        try:
            return yaml.SafeLoader("").construct_object(node, deep=True)
        except (ValueError, KeyError, IndexError, OverflowError) as error:  # such as `!!int abc`
            remedy = "remove the tag, or put the word in quotes"
            raise ScenarioError(_CONSTRUCTED[node.tag], repr(text), remedy).at(place) from error

    def _too_deep(self, place: str) -> ScenarioError:
        got = "more, or an alias that contains itself"
        return ScenarioError(f"at most {MOST_LEVELS} levels of nesting", got, "write fewer brackets").at(place)

    def place(self, path: Path) -> str:
        """The place of a part for messages, such as "audit.yaml line 12, scenarios[0].attacks".

        The line of a part that is not in the file is that of the part around it.
        """
        known = next((path[:n] for n in range(len(path), 0, -1) if path[:n] in self._lines), ())
        return f"{self.name} line {self._lines.get(known, 1)}{self._dotted(path)}"

    @staticmethod
    def _dotted(path: Path) -> str:
        dotted = ""
        for part in path:
            dotted += f"[{part}]" if isinstance(part, int) else f".{part}" if dotted else part
        return f", {dotted}" if dotted else ""

    @contextlib.contextmanager
    def at(self, path: Path) -> Iterator[None]:
        """Put the place in front of any AntivenomError raised inside the block; a PluginError becomes a ScenarioError."""
        try:
            yield
        except PluginError as error:
            raise ScenarioError(error.expected, error.got, error.remedy).at(error.where or self.place(path)) from error
        except AntivenomError as error:
            raise error.at(self.place(path)) from None
