"""Reads the configuration: ``load(path) -> Config``, or ConfigError with every mistake in it.

Each mistake is ``file:line:column: what is wrong, and what to do``, sorted by place; warnings, in the same form, are
in ``Config.warnings``. Whatever the file holds, nothing but ConfigError is raised. Of the world outside the file, only
this is looked at: whether certificates are there.
"""

import hashlib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from venturi.config.base import AT_KEY, IN_WORDS, Finding
from venturi.config.checks import check
from venturi.config.schema import Config
from venturi.config.values import Codecs, Source
from venturi.config.yaml_lines import Data, Document, Place, Problem, YamlError, read
from venturi.errors import ConfigError

_MAPPING = ("model_type", "dict_type", "model_attributes_type", "dataclass_type")
_LIST = ("tuple_type", "list_type")
_CHOICE = ("literal_error", "enum")


def load(path: Path, codecs: Codecs | None = None) -> Config:
    """Read, convert and check a configuration file. Raises ConfigError, and what ``codecs`` raises.

    ``codecs`` tells which there are: see ``values.Source``.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError([f"{path}: the configuration can't be read: {error.strerror or error}"]) from error
    try:
        document = read(raw)
    except YamlError as error:
        raise ConfigError(_lines(path, error.problems)) from error
    data = document.data
    if not isinstance(data, dict):
        words = "the file must be a mapping with the keys node, peers, rules, destinations, routes"
        raise ConfigError(_lines(path, [*document.problems, Problem(document.place(()), words)]))
    data = {"node": {}} | data  # so that its defaults are made absolute too
    source = Source(path.absolute().parent, codecs)
    problems = list(document.problems)
    config = None
    try:
        config = Config.model_validate(data, context=source)
    except ValidationError as error:
        problems.extend(
            problem for line in error.errors(include_url=False) if (problem := _problem(document, line))
        )
    findings = check(data, source)
    problems.extend(_place(document, finding) for finding in findings if not finding.warning)
    if problems or config is None:
        raise ConfigError(_lines(path, problems))
    return config.model_copy(
        update={
            "path": path.absolute(),
            "digest": hashlib.sha256(raw).hexdigest()[:16],
            "warnings": tuple(_lines(path, [_place(document, finding) for finding in findings])),
        }
    )


def _lines(path: Path, problems: list[Problem]) -> list[str]:
    return [f"{path}:{place.line}:{place.column}: {words}" for place, words in sorted(set(problems))]


def _place(document: Document, finding: Finding) -> Problem:
    return Problem(document.place(finding.path, finding.at_key), finding.message)


def _problem(document: Document, line: Any) -> Problem | None:
    """One pydantic error as a problem; None where the reader has reported the cause already."""
    loc = [step for step in line["loc"] if not str(step).startswith("<")]
    at_key = line["type"] == AT_KEY or loc[-1:] == ["[key]"]
    path: tuple[str | int, ...] = ()
    value: Data = document.data
    for step in loc:
        found = (
            value if isinstance(value, dict) else dict(enumerate(value)) if isinstance(value, list) else {}
        )
        if step not in found:
            break
        value = found[step]
        path = (*path, step)
    if value is None or (line["type"] == "too_short" and isinstance(value, str)):
        return None
    return Problem(document.place(path, at_key) if path else Place(1, 1), in_words(line, loc, value))


def in_words(line: Any, loc: list[Any], value: Data) -> str:
    """What one pydantic error at ``loc`` says of the value there."""
    kind, said = line["type"], line["msg"].removeprefix("Value error, ")
    if kind in (AT_KEY, IN_WORDS, "value_error"):
        return str(said)
    if kind == "missing":
        return f"{loc[-1]!r} is missing"
    if kind == "too_short":
        return "at least one is needed"
    if kind in _CHOICE:
        return f"{value!r} is none of {line.get('ctx', {}).get('expected', 'the known words')}"
    if kind in _MAPPING:
        return "a mapping belongs here: KEY: VALUE"
    if kind in _LIST:
        return "a list belongs here: [A, B]"
    if isinstance(value, dict | list):
        shape = "mapping" if isinstance(value, dict) else "list"
        return f"one value belongs here, not a {shape}: quote it if it is text"
    return f"{value!r}: {said.replace('Input should', 'this must')}"
