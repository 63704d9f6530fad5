"""The base of every model of the configuration: frozen, and its mistakes are found all at once, in words.

Read from a file (``Source`` is the validation context), a model takes its YAML names only, and an unknown key is
answered with the nearest known one. Built by a program, it takes its field names.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from venturi.config.values import Source
from venturi.config.yaml_lines import Path
from venturi.rules.keys import suggestion

AT_KEY = "at_key"
"""The type of our errors whose place is the key and not the value."""
IN_WORDS = "in_words"
"""The type of our other errors."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A mistake or a warning that no single value shows, and the path of what it is about."""

    path: Path
    message: str
    warning: bool = False
    at_key: bool = False


def mistake(loc: tuple[str | int, ...], message: str, at_key: bool = False) -> InitErrorDetails:
    """One line of a pydantic ValidationError, with our own words."""
    # a template with braces would be formatted, so the words travel as a value
    error = PydanticCustomError(AT_KEY if at_key else IN_WORDS, "{words}", {"words": message})
    return InitErrorDetails(type=error, loc=loc, input=None)


def mistakes(title: str, lines: list[InitErrorDetails]) -> ValidationError:
    """Several, to be raised inside a validator: their ``loc`` are relative to it."""
    return ValidationError.from_exception_data(title, lines)


def again(error: ValidationError) -> list[InitErrorDetails]:
    """The lines of an error, to be raised with others."""
    lines: list[InitErrorDetails] = []
    for line in error.errors(include_url=False):
        kind = PydanticCustomError(line["type"], "{words}", {"words": line["msg"], **line.get("ctx", {})})
        lines.append(InitErrorDetails(type=kind, loc=line["loc"], input=None))
    return lines


class Model(BaseModel):
    """Frozen; unknown keys are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, populate_by_name=True
    )

    not_in_file: ClassVar[frozenset[str]] = frozenset()
    """Fields that the loader fills in."""

    @model_validator(mode="wrap")
    @classmethod
    def _gather(cls, value: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        if not isinstance(info.context, Source) or not isinstance(value, dict):
            return handler(value)
        known = [
            field.alias or name for name, field in cls.model_fields.items() if name not in cls.not_in_file
        ]
        lines = [
            mistake(
                (key,), f"{key!r} is not a key here{suggestion(key, known)} (known: {', '.join(known)})", True
            )
            for key in value
            if key not in known
        ]
        try:
            made = handler({key: item for key, item in value.items() if key in known})
        except ValidationError as error:
            lines.extend(again(error))
        if lines:
            raise mistakes(cls.__name__, lines)
        return made
