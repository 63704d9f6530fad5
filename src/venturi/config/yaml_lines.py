"""YAML as plain data in which every scalar is text, with the place of every key and value.

``read`` refuses what YAML does by surprise: duplicate keys, merge keys, tags, several documents, aliases that
expand without end. Everything that can be found is found at once: ``YamlError`` holds all of it, and whatever does
not stop the reading (a duplicate key, a key without a value) is in ``Document.problems``. Nothing else is raised,
whatever the bytes are.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import yaml

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_NODES = 50_000

_HALF_TAG = re.compile(r"\(\s*[0-9A-Fa-f]{4}")
_REST_OF_TAG = re.compile(r"[0-9A-Fa-fxX]{2,4}\s*\)?|.*\)")
_PLAIN_TAG = re.compile(r"""(?<!['"])\([0-9A-Fa-f]{4},""")
_TEXT_TAGS = (None, "!", "tag:yaml.org,2002:str")

Path = tuple[str | int, ...]
Data = str | None | list["Data"] | dict[str, "Data"]


class Place(NamedTuple):
    """Where something is in the file, from 1; columns are characters."""

    line: int
    column: int


class Problem(NamedTuple):
    """A mistake and its place."""

    place: Place
    message: str


class YamlError(Exception):
    """The file can't be read any further; ``problems`` holds every mistake found so far."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Document:
    """The content of a file."""

    data: Data
    """None stands for a key or an item without a value, which is also in ``problems``."""
    problems: list[Problem]
    keys: dict[Path, Place]
    """Where each key begins, by the path to its value."""
    values: dict[Path, Place]
    """Where each value begins. What came by an alias is where its anchor is."""

    def place(self, path: Path, at_key: bool = False) -> Place:
        """Where a path is, or else the nearest thing around it that has a place."""
        while path and path not in self.values:
            path, at_key = path[:-1], False
        if at_key or self._at(path) is None:
            return self.keys.get(path) or self.values.get(path, Place(1, 1))
        return self.values.get(path, Place(1, 1))

    def _at(self, path: Path) -> Data:
        node = self.data
        for step in path:
            node = node[step]  # type: ignore[index]  # the path is one of ours
        return node


@dataclass(slots=True)
class _Node:
    place: Place
    content: "str | list[_Node] | dict[str, tuple[Place, _Node]] | None"
    nodes: int = 1
    """Itself and everything in it, aliases expanded."""


def read(raw: bytes) -> Document:
    """Parse the bytes of a file. Raises YamlError."""
    text = _decode(raw)
    try:
        root, problems = _Builder(text).build()
    except yaml.MarkedYAMLError as error:
        raise YamlError([_syntax_problem(error, text)]) from error
    except yaml.reader.ReaderError as error:
        message = f"the character U+{_ordinal(error.character):04X} does not belong in a YAML file: remove it"
        raise YamlError([Problem(_place_of(text, error.position), message)]) from error
    document = Document(_plain(root), problems, {}, {})
    _locate(root, (), document)
    return document


def _decode(raw: bytes) -> str:
    if len(raw) > MAX_BYTES:
        raise YamlError(
            [Problem(Place(1, 1), f"the file is longer than {MAX_BYTES} bytes: is it the right one?")]
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = _place_of(raw[: error.start].decode("utf-8", "replace"), len(raw))
        byte = f"the byte 0x{raw[error.start]:02X} is not UTF-8: save the file as UTF-8"
        raise YamlError([Problem(place, byte)]) from error
    if not text.strip():
        raise YamlError([Problem(Place(1, 1), "the file is empty")])
    return text


def _place_of(text: str, index: int) -> Place:
    lines = (text[:index] + ".").splitlines()
    return Place(len(lines), len(lines[-1]))


def _syntax_problem(error: yaml.MarkedYAMLError, text: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
    said = " ".join(part for part in (error.context, error.problem) if part)
    lines = text.splitlines()
    line = lines[place.line - 1] if place.line <= len(lines) else ""
    if "'\\t'" in said:
        hint = "YAML indents with spaces: replace the tab"
    elif _PLAIN_TAG.search(line):
        hint = "quote a tag, '(0008,0060)': inside {...} and [...] YAML splits it at its comma"
    elif "alias" in said or "anchor" in said:
        hint = 'a text that begins with * or & must be quoted: "*"'
    elif "cannot start any token" in said:
        hint = "quote a text that begins with such a character"
    else:
        hint = "check indentation, and quote texts with : # { } [ ] , in them"
    return Problem(place, f"this is not YAML ({said}); {hint}")


class _Builder:
    """Makes nodes from parser events: never deeper than MAX_DEPTH, never more than MAX_NODES."""

    def __init__(self, text: str) -> None:
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=yaml.BaseLoader)
        self._problems: list[Problem] = []
        self._anchors: dict[str, _Node | None] = {}

    def build(self) -> tuple[_Node, list[Problem]]:
        root: _Node | None = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise self._stop(
                        event, "a second document (---) begins here: one file, one configuration"
                    )
                root = self._node(next(self._events), 1)
        if root is None:
            raise YamlError([Problem(Place(1, 1), "the file is empty")])
        return root, self._problems

    def _stop(self, event: yaml.Event, message: str) -> YamlError:
        return YamlError([*self._problems, Problem(_start(event), message)])

    def _node(self, event: yaml.Event, depth: int) -> _Node:
        if depth > MAX_DEPTH:
            raise self._stop(event, f"nested more than {MAX_DEPTH} deep")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        anchor = getattr(event, "anchor", None)
        if anchor:
            self._anchors[anchor] = None
        tag = getattr(event, "tag", None)
        if tag not in _TEXT_TAGS:
            self._problems.append(Problem(_start(event), f"tags such as {tag} are not used here: remove it"))
        node = _Node(_start(event), None)
        if isinstance(event, yaml.ScalarEvent):
            empty = event.style is None and event.value == "" and tag is None
            node.content = None if empty else event.value
        elif isinstance(event, yaml.SequenceStartEvent):
            node.content = self._items(node, depth)
        else:
            node.content = self._entries(node, depth)
        if anchor:
            self._anchors[anchor] = node
        return node

    def _alias(self, event: yaml.AliasEvent) -> _Node:
        if event.anchor not in self._anchors:
            raise self._stop(
                event,
                f'*{event.anchor} refers to no anchor (&{event.anchor}) before it; a text is quoted: "*"',
            )
        node = self._anchors[event.anchor]
        if node is None:
            raise self._stop(event, f"*{event.anchor} refers to what it is itself a part of")
        return node

    def _count(self, node: _Node, child: _Node, event: yaml.Event) -> None:
        node.nodes += child.nodes
        if node.nodes > MAX_NODES:
            raise self._stop(event, f"more than {MAX_NODES} values once its aliases are expanded")

    def _items(self, node: _Node, depth: int) -> list[_Node]:
        items: list[_Node] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            item = self._node(event, depth + 1)
            self._count(node, item, event)
            if item.content is None:
                self._problems.append(Problem(item.place, "an item without a value: give one, or remove it"))
            items.append(item)
        return items

    def _entries(self, node: _Node, depth: int) -> dict[str, tuple[Place, _Node]]:
        entries: dict[str, tuple[Place, _Node]] = {}
        split = False
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            value = self._node(next(self._events), depth + 1)
            self._count(node, value, event)
            name = key.content if isinstance(key.content, str) else None
            if split and name is not None and _REST_OF_TAG.fullmatch(name):
                split = not name.endswith(")")
                continue
            split = False
            if isinstance(key.content, list | dict):
                self._problems.append(
                    Problem(key.place, "a key must be text, not a list or a mapping: quote it")
                )
            elif name is None:
                self._problems.append(Problem(key.place, "a key is missing before the colon"))
            elif _HALF_TAG.fullmatch(name) and value.content is None:
                split = True
                self._problems.append(
                    Problem(key.place, "YAML splits this tag at its comma: quote it, '(gggg,eeee)'")
                )
            elif name == "<<":
                self._problems.append(
                    Problem(key.place, "merge keys (<<) are not used here: write the keys out")
                )
            elif name in entries:
                line = entries[name][0].line
                message = f"{name!r} is given twice, first in line {line}: remove one"
                self._problems.append(Problem(key.place, message))
            else:
                if value.content is None:
                    message = f"{name!r} has no value: give one, or remove the key"
                    self._problems.append(Problem(key.place, message))
                entries[name] = (key.place, value)
        return entries


def _ordinal(character: object) -> int:
    return character if isinstance(character, int) else ord(str(character)[:1] or "\0")


def _start(event: yaml.Event) -> Place:
    mark = event.start_mark
    return Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)


def _plain(node: _Node) -> Data:
    if isinstance(node.content, list):
        return [_plain(item) for item in node.content]
    if isinstance(node.content, dict):
        return {name: _plain(value) for name, (_, value) in node.content.items()}
    return node.content


def _locate(node: _Node, path: Path, document: Document) -> None:
    document.values[path] = node.place
    if isinstance(node.content, list):
        for index, item in enumerate(node.content):
            _locate(item, (*path, index), document)
    elif isinstance(node.content, dict):
        for name, (place, value) in node.content.items():
            document.keys[(*path, name)] = place
            _locate(value, (*path, name), document)
