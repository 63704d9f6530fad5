"""A ``when`` as data: which facts must hold for a rule or a route. Frozen, picklable, pure.

``parse.py`` reads it from the YAML.

The laws:
- all clauses must hold; no clauses hold always; ``any:`` holds where one of its conditions does;
- an absent attribute fails every test but ``not`` and ``present: false``; ``not`` is the exact complement;
- of a multi-valued attribute any value may match; one that is present and empty has the single value "";
- padding (leading and trailing spaces, trailing NULs) does not count; otherwise text compares exactly, case
  included;
- where the VR is numeric, values compare as numbers: "5.000" is 5. What is no number fails a numeric test.

Matching never raises, whatever is in the header.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum

from venturi.dataset.syntaxes import lookup
from venturi.rules.facts import Facts
from venturi.rules.pattern import glob_matches, regex_matches

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,6})?", re.ASCII)
_SHOWN_CHARS = 60


class Fact(StrEnum):
    """What a key may name beside attributes."""

    CALLING_AE = "calling_ae"
    CALLED_AE = "called_ae"
    PEER = "peer"
    DESTINATION = "destination"
    TRANSFER_SYNTAX = "transfer_syntax"
    BYTES = "bytes"


class Operator(StrEnum):
    """How a value is compared with the operands: any of them may match."""

    IS = "is"
    GT = "gt"
    GE = "ge"
    LT = "lt"
    LE = "le"
    GLOB = "glob"
    REGEX = "regex"
    PRESENT = "present"
    """Takes no operands."""


class Comparison(StrEnum):
    """What the VR says about equality."""

    TEXT = "text"
    NUMBER = "number"
    SINGLE = "single"
    """Numbers of VR FL: rounded to 32 bits before they are compared, so that 0.1 is 0.1."""
    EITHER = "either"
    """The VR is not known: as text, or as numbers where both are."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One test as ``venturi explain`` shows it.

    ``saw`` may be PHI: for the terminal of whoever asked, never for a log.
    """

    text: str
    held: bool
    saw: str


def number(text: str) -> Decimal | None:
    """The number a text says (PS3.5 6.2, DS and IS), or None."""
    if len(text) > 64 or not _NUMBER.fullmatch(text):
        return None
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def _single(value: Decimal) -> Decimal:
    try:
        return Decimal(struct.unpack("<f", struct.pack("<f", float(value)))[0])
    except OverflowError:
        return value


@dataclass(frozen=True, slots=True)
class Clause:
    """One key of a ``when``: a subject, an operator and its operands."""

    key: str
    """As it was written."""
    subject: Fact | tuple[str, ...]
    """A fact of the association, or an attribute's path for ``Header.values``."""
    operator: Operator
    operands: tuple[str, ...] = ()
    negated: bool = False
    comparison: Comparison = Comparison.TEXT
    vr: str = ""

    def holds(self, facts: Facts) -> bool:
        """Whether the facts fulfil it. Never raises."""
        return self._holds(self._values(facts))

    def see(self, facts: Facts) -> Seen:
        """Whether the facts fulfil it, and what was there."""
        values = self._values(facts)
        return Seen(self.words(), self._holds(values), _shown(values))

    def words(self) -> str:
        """``Modality is CT or MR``."""
        names = " or ".join(operand or '""' for operand in map(self._operand_words, self.operands))
        symbol = {Operator.GT: ">", Operator.GE: ">=", Operator.LT: "<", Operator.LE: "<="}.get(self.operator)
        match self.operator:
            case Operator.PRESENT:
                return f"{self.key} is {'absent' if self.negated else 'present'}"
            case Operator.IS:
                return f"{self.key} is {'not ' if self.negated else ''}{names}"
            case Operator.GLOB:
                return f"{self.key} is {'not ' if self.negated else ''}like {names}"
            case Operator.REGEX:
                return f"{self.key} {'does not match' if self.negated else 'matches'} {names}"
            case _:
                return f"{self.key} {'not ' if self.negated else ''}{symbol} {names}"

    def _operand_words(self, operand: str) -> str:
        if self.subject is Fact.BYTES:
            return f"{int(operand):,}"
        return str(lookup(operand)) if self.subject is Fact.TRANSFER_SYNTAX else operand

    def _values(self, facts: Facts) -> tuple[str, ...] | None:
        if isinstance(self.subject, tuple):
            return facts.header.values(self.subject)
        match self.subject:
            case Fact.CALLING_AE:
                return (facts.envelope.calling_ae,)
            case Fact.CALLED_AE:
                return (facts.envelope.called_ae,)
            case Fact.PEER:
                return (facts.envelope.peer,)
            case Fact.DESTINATION:
                return (facts.destination,) if facts.destination else None
            case Fact.TRANSFER_SYNTAX:
                syntax = lookup(facts.envelope.transfer_syntax)
                return (syntax.uid, syntax.keyword) if syntax.keyword else (syntax.uid,)
            case Fact.BYTES:
                return (str(facts.size_bytes),)

    def _holds(self, values: tuple[str, ...] | None) -> bool:
        if self.operator is Operator.PRESENT:
            return (values is not None) != self.negated
        if values is None:
            return self.negated
        trimmed = [value.rstrip("\0").strip(" ") for value in values] or [""]
        return self._any(trimmed) != self.negated

    def _any(self, values: list[str]) -> bool:
        match self.operator:
            case Operator.GLOB:
                return any(glob_matches(operand, values) for operand in self.operands)
            case Operator.REGEX:
                return any(regex_matches(operand, values) for operand in self.operands)
            case Operator.IS:
                return any(self._equal(value, operand) for value in values for operand in self.operands)
            case _:
                return any(self._ordered(value, operand) for value in values for operand in self.operands)

    def _equal(self, value: str, operand: str) -> bool:
        if self.comparison is Comparison.TEXT:
            return value == operand
        left, right = number(value), number(operand)
        if left is None or right is None:
            # an empty operand asks for an empty value, whatever the VR
            return value == operand and (self.comparison is Comparison.EITHER or not operand)
        if self.comparison is Comparison.SINGLE:
            return _single(left) == _single(right)
        return left == right

    def _ordered(self, value: str, operand: str) -> bool:
        left, right = number(value), number(operand)
        if left is None or right is None:
            return False
        if self.comparison is Comparison.SINGLE:
            left, right = _single(left), _single(right)
        match self.operator:
            case Operator.GT:
                return left > right
            case Operator.GE:
                return left >= right
            case Operator.LT:
                return left < right
            case _:
                return left <= right


@dataclass(frozen=True, slots=True)
class AnyOf:
    """``any:``, of which at least one condition must hold."""

    conditions: tuple["Condition", ...]

    def holds(self, facts: Facts) -> bool:
        """Whether one of them does."""
        return any(condition.matches(facts) for condition in self.conditions)

    def see(self, facts: Facts) -> Seen:
        """Whether one of them does, and what was there for each."""
        parts: list[str] = []
        for condition in self.conditions:
            parts.extend(f"{seen.text}: {seen.saw}" for seen in condition.explain(facts))
        return Seen(self.words(), self.holds(facts), "; ".join(parts))

    def words(self) -> str:
        """``((A and B) or C)``."""
        parts = (f"({c.words()})" if len(c.clauses) > 1 else c.words() for c in self.conditions)
        return f"({' or '.join(parts)})"


@dataclass(frozen=True, slots=True)
class Condition:
    """All of ``clauses`` must hold; with none, it matches everything."""

    clauses: tuple[Clause | AnyOf, ...] = ()

    def matches(self, facts: Facts) -> bool:
        """Whether it holds. Pure; never raises for what a header says."""
        return all(clause.holds(facts) for clause in self.clauses)

    def explain(self, facts: Facts) -> list[Seen]:
        """Every test with its result and what it saw; ``matches`` is true exactly where all held."""
        return [clause.see(facts) for clause in self.clauses]

    def words(self) -> str:
        """``Modality is CT and SamplesPerPixel is 1``, or ``always``."""
        return " and ".join(clause.words() for clause in self.clauses) or "always"

    def implies(self, other: "Condition") -> bool:
        """True only where whatever matches this matches ``other`` too, as far as equal clauses tell."""
        return set(other.clauses) <= set(self.clauses)

    def located(self) -> Iterator[tuple[tuple[str | int, ...], Clause]]:
        """Every clause, nested ones too, with its path inside the ``when``."""
        for clause in self.clauses:
            if isinstance(clause, Clause):
                yield (clause.key,), clause
            else:
                for index, condition in enumerate(clause.conditions):
                    for path, nested in condition.located():
                        yield ("any", index, *path), nested


def _shown(values: tuple[str, ...] | None) -> str:
    if values is None:
        return "absent"
    text = "\\".join(values)
    if not text:
        return "empty"
    safe = "".join(char if char.isprintable() else "?" for char in text[: _SHOWN_CHARS + 1])
    return safe if len(text) <= _SHOWN_CHARS else safe[:_SHOWN_CHARS] + "..."
