"""A rule as it is written, and the ``Target`` it means.

    - name: teleradiology
      when: {destination: telerad, Modality: [CT, MR]}
      transfer_syntax: JPEG2000                  # a keyword, a UID, or as-received
      j2k_cr: [10]                               # or jls_error, j2k_psnr, jpeg_quality, use_mct: the encoder's
      lossy: {max_error: 12, beyond: lossless, uid: new, also: [MG]}
      from: lossless                             # uncompressed (default), lossless, or a list of these and of syntaxes
      codec: imagecodecs                         # which encoder, where there are several
      offset_table: extended                     # or basic
      prove: none                                # or pixels
      min_saving: 10%
      on_failure: keep
    - name: for old viewers
      transfer_syntax: ExplicitVRLittleEndian    # decompressed
      as_rgb: true                               # YBR becomes RGB

What a syntax would ignore is an error, because the encoders ignore it silently; so is a lossy syntax without
``lossy:``. The rest becomes ``Target.parameters`` by name, those of ``lossy`` as lossy_max_error, lossy_beyond,
lossy_uid, lossy_also; whatever is the default is left out, so that equal wishes are equal targets. What each means is
in ``transcode.wishes``.
"""

import itertools
from collections.abc import Callable, Collection, Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, InstanceOf, ValidationError, ValidationInfo
from pydantic_core import InitErrorDetails

from venturi.config.base import Model, again, mistake, mistakes
from venturi.config.targets import KEYS, NATIVE, NEEDS, TARGETS, brought, ignored, taken_of, takes
from venturi.config.values import (
    Codecs,
    Flag,
    Fraction,
    Name,
    Number,
    Numbers,
    RuleName,
    Source,
    Whole,
    one_or_many,
)
from venturi.dataset.syntaxes import Syntax, lookup
from venturi.model import OnFailure, Target
from venturi.rules.condition import Condition
from venturi.rules.parse import ConditionError, parse, syntax_uid

AS_RECEIVED = "as-received"


def _when(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, Condition):
        return value
    try:
        return parse(value)
    except ConditionError as error:
        lines = [mistake(problem.path, problem.message, problem.at_key) for problem in error.problems]
        raise mistakes("when", lines) from error


When = Annotated[InstanceOf[Condition], BeforeValidator(_when)]


def _taken(value: Any, info: ValidationInfo) -> Any:
    codecs = info.context.codecs if isinstance(info.context, Source) else None
    return taken_of(value, codecs) if isinstance(value, str) else value


Taken = Annotated[tuple[Annotated[str, BeforeValidator(_taken)], ...], BeforeValidator(one_or_many)]
Also = Annotated[tuple[Literal["MG"], ...], BeforeValidator(one_or_many)]


class Lossy(Model):
    """What a rule must say before an image may lose anything."""

    max_error: Number
    """The largest difference of any sample, in stored values."""
    beyond: Literal["lossless", "as-received", "hold"] = "lossless"
    """What to do with an image that would lose more."""
    uid: Literal["new", "keep"] = "new"
    """Of the SOP Instance (PS3.3 C.7.6.1.1.5)."""
    also: Also = ()
    """Modalities that lose nothing unless they are named."""


class RuleText(Model):
    """A rule with the keys of the file."""

    name: RuleName
    when: When = Condition()
    transfer_syntax: str
    jls_error: Whole | None = None
    j2k_cr: Numbers | None = None
    j2k_psnr: Numbers | None = None
    jpeg_quality: Whole | None = None
    use_mct: Flag | None = None
    codec: Name | None = None
    taken: Taken | None = Field(default=None, alias="from", min_length=1)
    as_rgb: Flag | None = None
    offset_table: Literal["basic", "extended"] | None = None
    prove: Literal["pixels", "none"] | None = None
    lossy: Lossy | None = None
    min_saving: Fraction | None = None
    on_failure: Literal["keep", "hold"] = "keep"

    def given(self) -> dict[str, Any]:
        """What stands beside the syntax, by its key in the file."""
        values = {key: getattr(self, "taken" if key == "from" else key) for key in KEYS}
        return {key: value for key, value in values.items() if value is not None}


_DEFAULTS: dict[str, object] = {
    "use_mct": True,
    "as_rgb": False,
    "offset_table": "basic",
    "prove": "pixels",
    "from": (),
    "lossy_beyond": "lossless",
    "lossy_uid": "new",
    "lossy_also": (),
}


def rule_fields(value: Any, info: ValidationInfo) -> Any:
    """The fields of ``schema.Rule`` from a rule's mapping in the file; anything else passes."""
    if not isinstance(value, dict) or not isinstance(info.context, Source):
        return value
    lines: list[InitErrorDetails] = []
    text = None
    try:
        text = RuleText.model_validate(value, context=info.context)
    except ValidationError as error:
        lines.extend(again(error))
        text = _what_is_right(value, {line["loc"][0] for line in error.errors()}, info)
    target = _target(text, value, info.context.codecs, lines) if text else Target()
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


def _target(
    text: RuleText, written: Collection[str], codecs: Codecs | None, lines: list[InitErrorDetails]
) -> Target:
    """``written`` are all keys of the rule, also those whose values are wrong."""
    given = text.given()
    if text.transfer_syntax == AS_RECEIVED:
        lines.extend(mistake((key,), f"{key} means nothing as received: remove it", True) for key in given)
        return Target()
    try:
        syntax = lookup(syntax_uid(text.transfer_syntax))
    except ValueError as error:
        lines.append(mistake(("transfer_syntax",), f"{error} (as-received leaves it as it is)"))
        return Target()
    taken = () if str(syntax) in TARGETS else brought(syntax, codecs)
    if taken is None:
        words = f"Venturi does not make {syntax}; choose as-received or one of {', '.join(TARGETS)}"
        lines.append(mistake(("transfer_syntax",), words))
        return Target()
    lines.extend(mistake((key,), words, True) for key, words in ignored(syntax, given, taken))
    lines.extend(_need_mistakes(text, written, syntax))
    lines.extend(_value_mistakes(text, syntax))
    return Target(syntax.uid, _parameters(given, syntax), given.get("min_saving", 0.0))


def _parameters(given: dict[str, Any], syntax: Syntax) -> tuple[tuple[str, Any], ...]:
    """Everything that is not the default, sorted by name."""
    parameters = {key: value for key, value in given.items() if key not in ("lossy", "min_saving")}
    if "from" in parameters:
        parameters["from"] = takes(parameters["from"], syntax)
    if "lossy" in given:
        parameters |= {f"lossy_{name}": value for name, value in given["lossy"].model_dump().items()}
    return tuple(
        sorted((name, value) for name, value in parameters.items() if value != _DEFAULTS.get(name, ...))
    )


def _need_mistakes(text: RuleText, written: Collection[str], syntax: Syntax) -> Iterator[InitErrorDetails]:
    """What a lossy syntax needs."""
    needs = NEEDS.get(str(syntax), ())
    if not needs:
        return
    if sum(name in written for name in needs) != 1:
        words = f"{syntax} needs {' or '.join(needs)}" + (", exactly one" if len(needs) > 1 else "")
        yield mistake(("transfer_syntax",), words)
    if "lossy" not in written:
        words = (
            f"{syntax} is lossy, and that is asked for by name: add lossy: {{max_error: N}}, or choose a lossless "
            "syntax"
        )
        yield mistake(("transfer_syntax",), words)
    if text.prove == "none":
        words = f"{syntax} is lossy, and its error is measured on every sample: remove prove: none"
        yield mistake(("prove",), words, True)


def _value_mistakes(text: RuleText, syntax: Syntax) -> Iterator[InitErrorDetails]:
    """Values that no syntax, or not this one, can take."""
    bound = text.lossy.max_error if text.lossy else None
    if text.jls_error is not None and not 1 <= text.jls_error <= 255:
        yield mistake(("jls_error",), "jls_error is 1 to 255; for no error choose JPEGLSLossless")
    elif text.jls_error is not None and bound is not None and 0 <= bound < text.jls_error:
        words = f"jls_error {text.jls_error} lets samples differ by more than max_error {bound:g} allows: lower it"
        yield mistake(("jls_error",), words)
    if text.jpeg_quality is not None and not 1 <= text.jpeg_quality <= 100:
        yield mistake(("jpeg_quality",), "jpeg_quality is 1 to 100")
    if text.j2k_cr is not None and not _steps(text.j2k_cr, lambda a, b: a > b, above=1.0):
        yield mistake(("j2k_cr",), "j2k_cr takes ratios above 1, from high to low: [20, 10]")
    if text.j2k_psnr is not None and not _steps(text.j2k_psnr, lambda a, b: a < b, above=0.0):
        yield mistake(("j2k_psnr",), "j2k_psnr takes decibels above 0, from low to high: [60, 80]")
    for name in ("j2k_cr", "j2k_psnr"):
        if str(syntax) == "HTJ2K" and len(getattr(text, name) or ()) > 1:
            yield mistake((name,), f"HTJ2K has one quality layer: {name} takes one value")
    if bound is not None and bound < 0:
        yield mistake(("lossy", "max_error"), "max_error is 0 or more")
    for index, entry in enumerate(text.taken or ()):
        if str(syntax) not in NATIVE and lookup(entry).lossy:
            words = f"{lookup(entry)} is lossy, and lossy input is never encoded again: remove it"
            yield mistake(("from", index), words)


def _steps(values: tuple[float, ...], ordered: Callable[[float, float], bool], above: float) -> bool:
    pairs = itertools.pairwise(values)
    return bool(values) and all(value > above for value in values) and all(ordered(a, b) for a, b in pairs)
