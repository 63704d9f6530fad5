"""One rule that stands in no file: for a command whose options are a rule's keys. The same mistakes, the same words."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from venturi.config.load import in_words
from venturi.config.rule_checks import check_codecs, check_rules
from venturi.config.schema import Rule, RuleOfFile
from venturi.config.values import Codecs, Source
from venturi.config.yaml_lines import Data


@dataclass(frozen=True, slots=True)
class Said:
    """A mistake, or a warning, about one key."""

    key: str
    words: str


class WrongRule(Exception):
    """``problems`` holds every mistake."""

    def __init__(self, problems: list[Said]) -> None:
        super().__init__("; ".join(problem.words for problem in problems))
        self.problems = problems


def one_rule(written: Mapping[str, Data], codecs: Codecs) -> tuple[Rule, list[Said]]:
    """Read a rule from its keys as text, and what is probably not meant by it.

    Raises WrongRule with every mistake, and what ``codecs`` raises.
    """
    data: dict[str, Data] = {"name": "?", **written}
    source = Source(Path.cwd(), codecs)
    problems: list[Said] = []
    rule = None
    try:
        rule = TypeAdapter(RuleOfFile).validate_python(data, context=source)
    except ValidationError as error:
        for line in error.errors(include_url=False):
            loc = list(line["loc"])
            key = str(loc[0]) if loc else ""
            value: Data = data.get(key)
            for step in loc[1:]:
                value = _inside(value, step)
            problems.append(Said(key, in_words(line, loc, value)))
    problems += [Said(str(f.path[2]), f.message) for f in check_codecs({"rules": [data]}, codecs)]
    if problems or rule is None:
        raise WrongRule(list(dict.fromkeys(problems)))
    return rule, [Said(str(f.path[2]), f.message) for f in check_rules({0: rule})]


def _inside(value: Data, step: int | str) -> Data:
    if isinstance(value, dict):
        return value.get(str(step))
    return value[int(step)] if isinstance(value, list) else value
