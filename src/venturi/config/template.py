"""The path of a file in a folder destination, made from attributes of the object, safely and injectively.

    {StudyInstanceUID}/{SOPInstanceUID}.dcm          values, as they are where they can be
    {StudyDate.year}/{StudyDate.month}/...           a part of a date: year, month, day
    {PatientID.sha256}/...                           not the value but its SHA-256
    {StationName|unknown}/...                        a word for what is missing or empty
    {(0019,xx0C,"CREATOR")}/{ProcedureCodeSequence.CodeValue}/...    whatever a rule's ``when`` can name

Values come from the network. Guarantees: a path never leaves the folder, no component begins with a dot,
every component is ASCII of at most 255 bytes, and two objects whose values differ never get the same path, but for what
a part of a date leaves out. So a value is percent-encoded rather than cleaned; what is missing or empty becomes a word
that no value can be encoded to; and a value too long for a name is represented by its SHA-256.

Pure; a template that can't keep these promises is refused with ValueError when it is read.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from venturi.rules.keys import parse_key

Values = Callable[[tuple[str, ...]], tuple[str, ...] | None]
"""Looks up an attribute by its path (see ``rules.facts.Header.values``); None where it is absent."""

MISSING, EMPTY, HASHED, NO_DATE = "missing", "empty", "sha256", "no-date"
"""For an absent attribute, one without a value, one whose value is too long, and one that is no date; a mark stands
before them."""
_DATE_PARTS = {"year": slice(0, 4), "month": slice(4, 6), "day": slice(6, 8)}
_PARTS = (*_DATE_PARTS, "sha256")
_DEFAULT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,39}", re.ASCII)
_SLASH = re.compile(r"/(?![^{}]*\})")
"""One that is not inside braces."""

VALUE_BYTES = 80
"""The longest encoded value; a UID has 64 at most."""
COMPONENT_BYTES = 240
"""The longest component: 255 less what a second name (``NAME.<hash8>.dcm``) adds."""

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_LITERAL = re.compile(r"[A-Za-z0-9._=,+@~ -]*", re.ASCII)
_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
_SEPARATORS = frozenset("._=,+@~ -")
_NO_TEXT = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "OB or OW"))


@dataclass(frozen=True, slots=True)
class _Field:
    """What stands in braces."""

    key: str
    path: tuple[str, ...]
    part: str
    """year, month, day, sha256, or empty: the whole value."""
    default: str
    """For what is missing or empty; empty: a word of ours."""


@dataclass(frozen=True, slots=True)
class _Component:
    """One name of the path: literals and fields in turn, the first and last are literals."""

    literals: tuple[str, ...]
    fields: tuple[_Field, ...]
    escaped: frozenset[str]
    """Separators that stand between two placeholders: they don't stay as they are in values."""


class PathTemplate:
    """A parsed template such as ``{StudyInstanceUID}/{SOPInstanceUID}.dcm``."""

    def __init__(self, text: str) -> None:
        """Parse; raises ValueError, in words that say what to do."""
        self.text = text
        self._components = tuple(self._parse(part) for part in _SLASH.split(text))
        fields = [field for component in self._components for field in component.fields]
        self.keywords: frozenset[str] = frozenset(field.key for field in fields if field.part != "sha256")
        """What can be read in paths: attributes as they are named, but for those of which only a hash is shown."""
        self.shown: frozenset[str] = frozenset(field.path[-1] for field in fields if field.part != "sha256")
        """The same as tags, whatever sequence they are in."""

    def render(self, values: Values) -> PurePosixPath:
        """Make the relative path of an object."""
        return PurePosixPath(*(_render(component, values) for component in self._components))

    def _parse(self, part: str) -> _Component:
        pieces = _PLACEHOLDER.split(part)
        literals = tuple(pieces[0::2])
        if not part or part.startswith("."):
            raise self._wrong("a name that is empty or begins with a dot is not allowed between slashes")
        for literal in literals:
            if not _LITERAL.fullmatch(literal):
                raise self._wrong(f"{literal!r} has characters that don't belong in a file name")
        escaped = set()
        for between in literals[1:-1]:
            separator = next((char for char in between if char in _SEPARATORS), None)
            if separator is None:
                raise self._wrong("put a separator such as - between two values")
            escaped.add(separator)
        fields = tuple(self._field(text, escaped) for text in pieces[1::2])
        if sum(map(len, literals)) + len(fields) * VALUE_BYTES > COMPONENT_BYTES:
            raise self._wrong(f"{part!r} can become longer than a file name may be: put a / in it")
        return _Component(literals, fields, frozenset(escaped))

    def _field(self, text: str, escaped: set[str]) -> _Field:
        key, bar, default = text.partition("|")
        name, _, part = key.rpartition(".")
        if part not in _PARTS:
            name, part = key, ""
        try:
            found = parse_key(name, [])
        except ValueError as error:
            raise self._wrong(str(error).replace(" nor a fact of the association", "")) from error
        if part in _DATE_PARTS and found.vr not in ("DA", "DT", "UN"):
            raise self._wrong(f"{name} is no date ({found.vr}), so it has no {part}")
        if found.vr in _NO_TEXT:
            raise self._wrong(f"{name} has no text ({found.vr})")
        if bar and (
            not _DEFAULT.fullmatch(default) or escaped & set(default) or (part and default.isdecimal())
        ):
            raise self._wrong(
                f"{default!r} can't stand for what is missing: up to 40 letters, digits, - and ., and no separator"
            )
        return _Field(name, found.path, part, default)

    def _wrong(self, why: str) -> ValueError:
        return ValueError(f"{self.text!r}: {why}")


def _render(component: _Component, values: Values) -> str:
    parts = [component.literals[0]]
    for field, literal in zip(component.fields, component.literals[1:], strict=True):
        parts += (_text(field, values(field.path), component.escaped), literal)
    return "".join(parts)


def _text(field: _Field, values: tuple[str, ...] | None, escaped: frozenset[str]) -> str:
    text = "\\".join(values or ())
    if not text and field.default:
        return field.default
    if text and field.part == "sha256":
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    if text and field.part:
        date = re.match(r"\d{8}", text, re.ASCII)
        return date[0][_DATE_PARTS[field.part]] if date else _mark(escaped) + NO_DATE
    encoded = encode(values, escaped)
    if field.default and encoded == field.default:
        return f"%{ord(encoded[0]):02X}{encoded[1:]}"  # the word is for what is missing alone
    return encoded


def _mark(escaped: frozenset[str]) -> str:
    """What stands before words of ours: no value is encoded so. Two digits follow a % of a value's."""
    return "%" if "_" in escaped else "_"


def encode(values: tuple[str, ...] | None, escaped: frozenset[str] = frozenset()) -> str:
    """Make a part of a name from an attribute's values: different values give different names.

    Characters outside ``A-Za-z0-9._-``, those in ``escaped``, and a leading dot or underscore are
    percent-encoded as UTF-8 (RFC 3986 2.1). What begins with an underscore is therefore one of our own words.
    """
    mark = _mark(escaped)
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
