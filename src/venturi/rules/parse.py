"""Reads a ``when`` (mappings, lists and text, as YAML gives them) into a ``Condition``.

    Modality: CT                       text: one of the values is it
    Modality: [CT, MR]                 any of
    calling_ae: {not: US3}             one operator: not, gt, ge, lt, le, glob, regex, present
    SeriesDescription: {not: {glob: "*LOC*"}}
    any: [{Modality: US}, {NumberOfFrames: {gt: 1}}]

All mistakes are found at once: ``ConditionError`` holds each with its path inside the ``when``.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from venturi.dataset.dictionary import uids
from venturi.dataset.syntaxes import BY_KEYWORD
from venturi.rules.condition import AnyOf, Clause, Comparison, Condition, Fact, Operator, number
from venturi.rules.keys import parse_key, split_by_yaml, suggestion
from venturi.rules.pattern import check_regex
from venturi.rules.units import size_bytes

Path = tuple[str | int, ...]
_FACTS = [str(fact) for fact in Fact]
_OPERATORS = [str(operator) for operator in Operator if operator is not Operator.IS] + ["not"]
_NUMERIC = {"DS", "IS", "US", "SS", "UL", "SL", "FD", "SV", "UV", "SQ", "US or SS"}
_BULK = {"OB", "OW", "OF", "OD", "OL", "OV", "OB or OW", "US or OW", "US or SS or OW"}
_ONE_VALUE = {"ST", "LT", "UT", "UR"}
_ORDER = {Operator.GT, Operator.GE, Operator.LT, Operator.LE}
_UID = re.compile(r"(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*))+")
_BOOLEANS = {"true": True, "yes": True, "false": False, "no": False}


class Problem(NamedTuple):
    """One mistake, and where it is inside the ``when``."""

    path: Path
    message: str
    at_key: bool = False


class ConditionError(ValueError):
    """A ``when`` that can't be read; ``problems`` holds every mistake, ``partial`` what is right in it."""

    def __init__(self, problems: list[Problem], partial: Condition) -> None:
        super().__init__("; ".join(f"{'.'.join(map(str, p.path))}: {p.message}" for p in problems))
        self.problems = problems
        self.partial = partial


def is_uid(text: str) -> bool:
    """Whether a text is a UID (PS3.5 9.1)."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def syntax_uid(text: str) -> str:
    """The UID of a transfer syntax named by keyword or UID. Raises ValueError."""
    if text in BY_KEYWORD:
        return BY_KEYWORD[text].uid
    if is_uid(text):
        return text
    raise ValueError(
        f"{text!r} is not a transfer syntax's keyword or UID{suggestion(text, list(BY_KEYWORD))}"
    )


def parse(raw: object) -> Condition:
    """The condition that a ``when`` says. Raises ConditionError with all mistakes in it."""
    problems: list[Problem] = []
    condition = _mapping(raw, (), problems)
    if problems:
        raise ConditionError(problems, condition)
    return condition


def _mapping(raw: object, path: Path, problems: list[Problem]) -> Condition:
    if not isinstance(raw, Mapping):
        problems.append(Problem(path, "conditions are a mapping, such as {Modality: CT}"))
        return Condition()
    clauses: list[Clause | AnyOf] = []
    for key, value in raw.items():
        if key == "any":
            clauses.append(_any(value, (*path, key), problems))
            continue
        try:
            subject = _subject(str(key))
        except ValueError as error:
            problems.append(Problem((*path, key), str(error), at_key=True))
            continue
        try:
            clauses.append(_clause(subject, value))
        except _OperandError as error:
            problems.append(Problem((*path, key, *error.path), str(error)))
    return Condition(tuple(clauses))


def _any(raw: object, path: Path, problems: list[Problem]) -> AnyOf:
    if not isinstance(raw, list) or not raw:
        problems.append(
            Problem(path, "any: takes a list of conditions, such as [{Modality: US}, {Modality: XA}]")
        )
        return AnyOf(())
    return AnyOf(tuple(_mapping(item, (*path, index), problems) for index, item in enumerate(raw)))


class _OperandError(ValueError):
    def __init__(self, message: str, path: Path = ()) -> None:
        super().__init__(message)
        self.path = path


def _subject(key: str) -> Clause:
    """A clause that still lacks its operator and operands."""
    if key in _FACTS:
        fact = Fact(key)
        return Clause(
            key, fact, Operator.IS, comparison=Comparison.NUMBER if fact is Fact.BYTES else Comparison.TEXT
        )
    if split_by_yaml(key) and not (len(key) == 4 and key.isalpha()):
        raise ValueError(
            f"{key!r} looks like a part of a tag that YAML split at its comma: quote it, '(0008,0060)'"
        )
    found = parse_key(key, _FACTS)
    comparison = {"FL": Comparison.SINGLE, "UN": Comparison.EITHER}.get(found.vr, Comparison.TEXT)
    if found.vr in _NUMERIC:
        comparison = Comparison.NUMBER
    return Clause(key, found.path, Operator.IS, comparison=comparison, vr=found.vr)


def _clause(subject: Clause, value: object) -> Clause:
    if not isinstance(value, Mapping):
        return _equality(subject, value, ())
    if len(value) != 1:
        raise _OperandError(
            f"give one operator ({', '.join(_OPERATORS)}), not {len(value)}; a second one on the same "
            "attribute goes under any: with a single entry"
        )
    [(name, operand)] = value.items()
    if name != "not":
        return _operator(subject, str(name), operand, ())
    if isinstance(operand, Mapping):
        if len(operand) != 1 or "not" in operand:
            raise _OperandError("not: takes a value, a list, or one other operator", ("not",))
        [(inner, operand)] = operand.items()
        clause = _operator(subject, str(inner), operand, ("not",))
        return replace(clause, negated=not clause.negated)
    return replace(_equality(subject, operand, ("not",)), negated=True)


def _operator(subject: Clause, name: str, operand: object, at: Path) -> Clause:
    path = (*at, name)
    if name not in _OPERATORS:
        raise _OperandError(
            f"{name!r} is not an operator{suggestion(name, _OPERATORS)} (known: {', '.join(_OPERATORS)})",
            path,
        )
    operator = Operator(name)
    if operator is Operator.PRESENT:
        return _present(subject, operand, path)
    _comparable(subject, path)
    if operator in _ORDER:
        return replace(subject, operator=operator, operands=(_ordered_operand(subject, operand, path),))
    if subject.subject is Fact.BYTES:
        raise _OperandError("bytes is a number: compare it with gt, ge, lt or le", path)
    operands = _texts(operand, path)
    if operator is Operator.REGEX:
        for text in operands:
            try:
                check_regex(text)
            except ValueError as error:
                raise _OperandError(str(error), path) from error
    return replace(subject, operator=operator, operands=operands)


def _present(subject: Clause, operand: object, path: Path) -> Clause:
    if isinstance(subject.subject, Fact):
        raise _OperandError(f"{subject.key} is always present", path)
    wanted = _BOOLEANS.get(operand.lower()) if isinstance(operand, str) else operand
    if not isinstance(wanted, bool):
        raise _OperandError("present: takes true or false", path)
    return replace(subject, operator=Operator.PRESENT, negated=not wanted, comparison=Comparison.TEXT)


def _ordered_operand(subject: Clause, operand: object, path: Path) -> str:
    ordered = subject.comparison is not Comparison.TEXT or subject.vr == "DA"
    if not ordered:
        raise _OperandError(
            f"{subject.key} has no order (it is text): use a value, a list, glob or regex", path
        )
    if not isinstance(operand, str):
        raise _OperandError(f"{path[-1]}: takes one number", path)
    if subject.vr == "DA" and not re.fullmatch(r"\d{8}", operand):
        raise _OperandError(f"{operand!r} is not a date: write YYYYMMDD", path)
    return _operand(subject, operand, path)


def _equality(subject: Clause, value: object, path: Path) -> Clause:
    _comparable(subject, path)
    operands = tuple(_operand(subject, text, path) for text in _texts(value, path))
    return replace(subject, operands=operands)


def _comparable(subject: Clause, path: Path) -> None:
    if subject.vr in _BULK:
        raise _OperandError(
            f"{subject.key} is bulk data ({subject.vr}): only {{present: true}} or false can be asked", path
        )


def _texts(value: object, path: Path) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    if not items:
        raise _OperandError("an empty list matches nothing: name at least one value", path)
    for index, item in enumerate(items):
        if not isinstance(item, str):
            where = (*path, index) if isinstance(value, list) else path
            raise _OperandError("takes text or a list of texts", where)
    return tuple(items)


def _operand(subject: Clause, text: str, path: Path) -> str:
    try:
        return _normal(subject, text.strip(" "))
    except ValueError as error:
        raise _OperandError(str(error), path) from error


def _normal(subject: Clause, text: str) -> str:
    """An operand as it will be compared. Raises ValueError."""
    if subject.subject is Fact.BYTES:
        return str(size_bytes(text))
    if subject.subject is Fact.TRANSFER_SYNTAX:
        return syntax_uid(text)
    if subject.subject in (Fact.CALLING_AE, Fact.CALLED_AE) and not 1 <= len(text) <= 16:
        raise ValueError(f"{text!r} is not an AE title: they have 1 to 16 characters")
    if subject.comparison in (Comparison.NUMBER, Comparison.SINGLE) and text and number(text) is None:
        raise ValueError(f"{subject.key} is a number ({subject.vr}); {text!r} is not one")
    if subject.vr == "UI" and text and not is_uid(text):
        return uid_of(text)
    if subject.vr == "AT" and text:
        return _tag_operand(text)
    if "\\" in text and subject.vr not in _ONE_VALUE:
        raise ValueError(
            f"{text!r}: values are compared one by one, so none has a backslash; name one of them"
        )
    return text


def _tag_operand(text: str) -> str:
    match = re.fullmatch(r"\(?([0-9A-Fa-f]{4}),?\s*([0-9A-Fa-f]{4})\)?", text)
    if not match:
        raise ValueError(f"{text!r} is not a tag: write '(gggg,eeee)'")
    return (match[1] + match[2]).lower()


def uid_of(keyword: str) -> str:
    """The UID that a keyword of PS3.6 Annex A names. Raises ValueError."""
    known = uids()
    if keyword not in known:
        raise ValueError(
            f"{keyword!r} is neither a UID nor a UID's keyword{suggestion(keyword, list(known))}"
        )
    return known[keyword]
