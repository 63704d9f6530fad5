"""A rule as it is written, and the ``Target`` it means.

    - name: teleradiology
      when: {destination: telerad, Modality: [CT, MR]}
      transfer_syntax: JPEG2000                  # a keyword, a UID, or as-received
      j2k_cr: [10]
      lossy: {max_error: 12, beyond: lossless, uid: new}
      min_saving: 10%
      on_failure: keep

What a syntax would ignore is an error, because the encoders ignore it silently; so is a lossy syntax without
``lossy:``. The parameters become ``Target.parameters``, those of ``lossy`` as lossy_max_error, lossy_beyond, lossy_uid.
"""

import itertools
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, InstanceOf, ValidationError, ValidationInfo
from pydantic_core import InitErrorDetails

from venturi.config.base import Model, again, mistake, mistakes
from venturi.config.values import Fraction, Number, Numbers, RuleName, Source, Whole
from venturi.dataset.syntaxes import (
    BY_UID,
    EXPLICIT_VR_LITTLE_ENDIAN,
    HTJ2K_LOSSLESS,
    IMPLICIT_VR_LITTLE_ENDIAN,
    JPEG_2000_LOSSLESS,
    JPEG_LS_LOSSLESS,
    RLE_LOSSLESS,
    Syntax,
    lookup,
)
from venturi.model import OnFailure, Scalar, Target
from venturi.rules.condition import Condition
from venturi.rules.parse import ConditionError, parse, syntax_uid

AS_RECEIVED = "as-received"
IMPLEMENTED = frozenset((RLE_LOSSLESS, JPEG_LS_LOSSLESS, JPEG_2000_LOSSLESS, HTJ2K_LOSSLESS))
"""Targets that can be made today; others are accepted with a warning, and objects go on as received."""

_LOSSY = {"JPEGLSNearLossless": ("jls_error",), "JPEG2000": ("j2k_cr", "j2k_psnr")}
"""The lossy syntaxes a rule may name, and their parameters, of which exactly one is needed."""
_LOSSLESS = (
    IMPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    *(
        uid
        for uid, syntax in BY_UID.items()
        if not syntax.lossy and syntax.family in ("rle", "jpeg", "jpeg-ls", "jpeg-2000", "htj2k", "jpeg-xl")
    ),
)
TARGETS = tuple(str(lookup(uid)) for uid in _LOSSLESS) + tuple(_LOSSY)
_LATER = ("codec", "prove", "from")


def _when(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, Condition):
        return value
    try:
        return parse(value)
    except ConditionError as error:
        lines = [mistake(problem.path, problem.message, problem.at_key) for problem in error.problems]
        raise mistakes("when", lines) from error


When = Annotated[InstanceOf[Condition], BeforeValidator(_when)]


class Lossy(Model):
    """What a rule must say before an image may lose anything."""

    max_error: Number
    """The largest difference of any sample, in stored values."""
    beyond: Literal["lossless", "as-received", "hold"] = "lossless"
    """What to do with an image that would lose more."""
    uid: Literal["new", "keep"] = "new"
    """Of the SOP Instance (PS3.3 C.7.6.1.1.5)."""


class RuleText(Model):
    """A rule with the keys of the file."""

    name: RuleName
    when: When = Condition()
    transfer_syntax: str
    jls_error: Whole | None = None
    j2k_cr: Numbers | None = None
    j2k_psnr: Numbers | None = None
    lossy: Lossy | None = None
    min_saving: Fraction | None = None
    on_failure: Literal["keep", "hold"] = "keep"


def rule_fields(value: Any, info: ValidationInfo) -> Any:
    """The fields of ``schema.Rule`` from a rule's mapping in the file; anything else passes."""
    if not isinstance(value, dict) or not isinstance(info.context, Source):
        return value
    lines = [
        mistake((key,), f"{key} is not implemented yet: remove it", True) for key in _LATER if key in value
    ]
    known = {key: item for key, item in value.items() if key not in _LATER}
    text = None
    try:
        text = RuleText.model_validate(known, context=info.context)
    except ValidationError as error:
        lines.extend(again(error))
        text = _what_is_right(known, {line["loc"][0] for line in error.errors()}, info)
    target = _target(text, lines) if text else Target()
    if lines or text is None:
        raise mistakes("rule", lines)
    return {"name": text.name, "when": text.when, "target": target, "on_failure": OnFailure(text.on_failure)}


def _what_is_right(value: dict[str, Any], wrong: set[int | str], info: ValidationInfo) -> RuleText | None:
    """The rule without its wrong keys, to go on looking for mistakes; None where it has no syntax to judge by."""
    right = {"name": "?"} | {key: item for key, item in value.items() if key not in wrong}
    try:
        return RuleText.model_validate(right, context=info.context)
    except ValidationError:
        return None


def _target(text: RuleText, lines: list[InitErrorDetails]) -> Target:
    given: dict[str, Scalar | tuple[float, ...]] = {
        name: value
        for name in ("jls_error", "j2k_cr", "j2k_psnr")
        if (value := getattr(text, name)) is not None
    }
    if text.transfer_syntax == AS_RECEIVED:
        ignored = [*given, *(name for name in ("lossy", "min_saving") if getattr(text, name) is not None)]
        lines.extend(
            mistake((name,), f"{name} means nothing as received: remove it", True) for name in ignored
        )
        return Target()
    try:
        syntax = lookup(syntax_uid(text.transfer_syntax))
    except ValueError as error:
        lines.append(mistake(("transfer_syntax",), f"{error} (as-received leaves it as it is)"))
        return Target()
    wanted = _LOSSY.get(syntax.keyword, ())
    if not wanted and syntax.uid not in _LOSSLESS:
        words = f"{syntax} is nothing Venturi can make; choose as-received or one of {', '.join(TARGETS)}"
        lines.append(mistake(("transfer_syntax",), words))
        return Target()
    lines.extend(_parameter_mistakes(text, syntax, list(given), wanted))
    if text.lossy is not None:
        given |= {f"lossy_{name}": value for name, value in text.lossy.model_dump().items()}
    return Target(syntax.uid, tuple(sorted(given.items())), text.min_saving or 0.0)


def _parameter_mistakes(
    text: RuleText, syntax: Syntax, given: list[str], wanted: tuple[str, ...]
) -> list[InitErrorDetails]:
    lines = [
        mistake(
            (name,), f"{syntax} takes no {name} (it would be ignored): remove it, or choose {other}", True
        )
        for name in given
        if name not in wanted
        for other, names in _LOSSY.items()
        if name in names
    ]
    if wanted and sum(name in wanted for name in given) != 1:
        lines.append(mistake(("transfer_syntax",), f"{syntax} needs {' or '.join(wanted)}, exactly one"))
    if wanted and text.lossy is None:
        words = (
            f"{syntax} is lossy, and that is asked for by name: add lossy: {{max_error: N}}, or choose a lossless "
            "syntax"
        )
        lines.append(mistake(("transfer_syntax",), words))
    if not wanted and text.lossy is not None:
        lines.append(
            mistake(("lossy",), f"{syntax} is lossless, so lossy: would be ignored: remove it", True)
        )
    if text.jls_error is not None and not 1 <= text.jls_error <= 255:
        lines.append(mistake(("jls_error",), "jls_error is 1 to 255; for no error choose JPEGLSLossless"))
    if text.j2k_cr is not None and not _steps(text.j2k_cr, lambda a, b: a > b, above=1.0):
        lines.append(mistake(("j2k_cr",), "j2k_cr takes ratios above 1, from high to low: [20, 10]"))
    if text.j2k_psnr is not None and not _steps(text.j2k_psnr, lambda a, b: a < b, above=0.0):
        lines.append(mistake(("j2k_psnr",), "j2k_psnr takes decibels above 0, from low to high: [60, 80]"))
    if text.lossy is not None and text.lossy.max_error < 0:
        lines.append(mistake(("lossy", "max_error"), "max_error is 0 or more"))
    return lines


def _steps(values: tuple[float, ...], ordered: Callable[[float, float], bool], above: float) -> bool:
    pairs = itertools.pairwise(values)
    return bool(values) and all(value > above for value in values) and all(ordered(a, b) for a, b in pairs)
