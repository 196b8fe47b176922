"""YAML that remembers the line of every key and list item, so that an error can name it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import yaml

from antivenom.core.errors import AntivenomError, PluginError, ScenarioError

Path = tuple[str | int, ...]
_PLAIN = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


class Located:
    """A parsed YAML document with the line numbers of its parts.

    Attributes:
        content: the document as plain Python values.
        name: the file's name, for messages.

    Raises:
        ScenarioError: invalid YAML, a repeated key, a tag, or an alias that contains itself.
    """

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        self._lines: dict[Path, int] = {}
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
            self.content = None if node is None else self._value(node, ())
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise ScenarioError("valid YAML", error.problem or "something else", "check indentation and colons").at(
                f"{name} line {line}"
            ) from error
        except yaml.YAMLError as error:
            raise ScenarioError("valid YAML", str(error).splitlines()[0], "save it as UTF-8 text").at(name) from error

    def _value(self, node: yaml.Node, path: Path) -> object:
        self._lines.setdefault(path, node.start_mark.line + 1)
        if len(path) > 20:  # an alias that contains itself would recurse for ever
            raise ScenarioError("at most 20 levels of nesting", "more, or an alias that contains itself").at(self.name)
        if not isinstance(node, yaml.ScalarNode) and node.tag not in _PLAIN:
            raise ScenarioError("plain lists and mappings", f"the tag {node.tag}", "remove it").at(self.place(path))
        if isinstance(node, yaml.MappingNode):
            mapping: dict[object, object] = {}
            for key_node, value_node in node.value:
                key = yaml.safe_load(yaml.serialize(key_node))
                self._lines[(*path, key)] = key_node.start_mark.line + 1
                if key in mapping:
                    raise ScenarioError("each field once", f"{key!r} again", "remove one").at(self.place((*path, key)))
                mapping[key] = self._value(value_node, (*path, key))
            return mapping
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*path, index)) for index, item in enumerate(node.value)]
        loader = yaml.SafeLoader("")
        return loader.construct_object(node, deep=True)

    def place(self, path: Path) -> str:
        """The place of a part for messages, such as "audit.yaml line 12, scenarios[0].attacks"."""
        dotted = ""
        for part in path:
            dotted += f"[{part}]" if isinstance(part, int) else f".{part}" if dotted else str(part)
        return f"{self.name} line {self._lines.get(path, 1)}" + (f", {dotted}" if dotted else "")

    @contextlib.contextmanager
    def at(self, path: Path) -> Iterator[None]:
        """Put the place in front of any AntivenomError raised inside the block; a PluginError becomes a ScenarioError."""
        try:
            yield
        except PluginError as error:
            raise ScenarioError(error.expected, error.got, error.remedy).at(error.where or self.place(path)) from error
        except AntivenomError as error:
            raise error.at(self.place(path)) from None
