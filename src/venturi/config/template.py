"""The path of a file in a folder destination, made from attributes of the object, safely and injectively.

Values come from the network. Guarantees: a path never leaves the folder, no component begins with a dot,
every component is ASCII of at most 255 bytes, and two objects whose values differ never get the same path. So
a value is percent-encoded rather than cleaned; what is missing or empty becomes a word that no value can be
encoded to; and a value too long for a name is represented by its SHA-256.

Pure; a template that can't keep these promises is refused with ValueError when it is read.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from venturi.dataset.dictionary import tags as known_tags
from venturi.rules.keys import suggest_keyword

Values = Callable[[str], tuple[str, ...] | None]
"""Looks up an attribute by its tag of eight lower-case hexadecimal digits; None where it is absent."""

MISSING, EMPTY, HASHED = "missing", "empty", "sha256"
"""For an absent attribute, one without a value, and one whose value is too long; a mark stands before them."""

VALUE_BYTES = 80
"""The longest encoded value; a UID has 64 at most."""
COMPONENT_BYTES = 240
"""The longest component: 255 less what a second name (``NAME.<hash8>.dcm``) adds."""

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_LITERAL = re.compile(r"[A-Za-z0-9._=,+@~ -]*", re.ASCII)
_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
_SEPARATORS = frozenset("._=,+@~ -")


@dataclass(frozen=True, slots=True)
class _Component:
    """One name of the path: literals and tags in turn, the first and last are literals."""

    literals: tuple[str, ...]
    tags: tuple[str, ...]
    escaped: frozenset[str]
    """Separators that stand between two placeholders: they don't stay as they are in values."""


class PathTemplate:
    """A parsed template such as ``{StudyInstanceUID}/{SOPInstanceUID}.dcm``."""

    def __init__(self, text: str) -> None:
        """Parse; raises ValueError, in words that say what to do."""
        self.text = text
        self.keywords: frozenset[str] = frozenset(_PLACEHOLDER.findall(text))
        self._components = tuple(self._parse(part) for part in text.split("/"))

    def render(self, values: Values) -> PurePosixPath:
        """Make the relative path of an object."""
        return PurePosixPath(*(_render(component, values) for component in self._components))

    def _parse(self, part: str) -> _Component:
        pieces = _PLACEHOLDER.split(part)
        literals, keywords = tuple(pieces[0::2]), pieces[1::2]
        if not part or part.startswith("."):
            raise self._wrong("a name that is empty or begins with a dot is not allowed between slashes")
        for literal in literals:
            if not _LITERAL.fullmatch(literal):
                raise self._wrong(f"{literal!r} has characters that don't belong in a file name")
        tags, escaped = [], set()
        for keyword in keywords:
            tag = known_tags().get(keyword)
            if tag is None:
                raise self._wrong(f"{keyword!r} is not an attribute's keyword{suggest_keyword(keyword)}")
            tags.append(f"{tag:08x}")
        for between in literals[1:-1]:
            separator = next((char for char in between if char in _SEPARATORS), None)
            if separator is None:
                raise self._wrong("put a separator such as - between two values")
            escaped.add(separator)
        if sum(map(len, literals)) + len(tags) * VALUE_BYTES > COMPONENT_BYTES:
            raise self._wrong(f"{part!r} can become longer than a file name may be: put a / in it")
        return _Component(literals, tuple(tags), frozenset(escaped))

    def _wrong(self, why: str) -> ValueError:
        return ValueError(f"{self.text!r}: {why}")


def _render(component: _Component, values: Values) -> str:
    parts = [component.literals[0]]
    for tag, literal in zip(component.tags, component.literals[1:], strict=True):
        parts += (encode(values(tag), component.escaped), literal)
    return "".join(parts)


def encode(values: tuple[str, ...] | None, escaped: frozenset[str] = frozenset()) -> str:
    """Make a part of a name from an attribute's values: different values give different names.

    Characters outside ``A-Za-z0-9._-``, those in ``escaped``, and a leading dot or underscore are
    percent-encoded as UTF-8 (RFC 3986 2.1). What begins with an underscore is therefore one of our own words.
    """
    mark = "%" if "_" in escaped else "_"  # a % that two digits don't follow is no value's either
    if values is None:
        return mark + MISSING
    if not values:
        return mark + EMPTY
    text = "\\".join(values)
    if not text:
        return mark + EMPTY
    encoded = "".join(
        char
        if char in _SAFE and char not in escaped and not (index == 0 and char in "._")
        else "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogatepass"))
        for index, char in enumerate(text)
    )
    if len(encoded) > VALUE_BYTES:
        return mark + HASHED + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return encoded
