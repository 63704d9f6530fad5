"""What is found in the rules together: names used twice, rules that never win, and what is probably not meant.

Which codecs there are is another room's knowledge (``Codecs``), handed in by whoever loads.
"""

from collections.abc import Iterator, Mapping

from venturi.config.base import Finding
from venturi.config.schema import Rule
from venturi.config.targets import LOSSLESS, NATIVE, OPTIONS, UNCOMPRESSED
from venturi.config.values import Codecs, name_of
from venturi.config.yaml_lines import Data, Path
from venturi.dataset.syntaxes import lookup
from venturi.rules.condition import Clause, Condition, Fact, Operator
from venturi.rules.keys import suggestion
from venturi.rules.parse import syntax_uid

_NEAR_LOSSLESS = "JPEGLSNearLossless"
_NEVER_LOSSY = ("SEG", "RTDOSE", "PT", "NM")


def check_rules(rules: Mapping[int, Rule]) -> Iterator[Finding]:
    """Compare the rules that could be read; by their place in the list."""
    earlier: list[Rule] = []
    for index, rule in rules.items():
        path = ("rules", index)
        if any(rule.name == before.name for before in earlier):
            yield Finding((*path, "name"), f"two rules have the name {rule.name!r}: give each its own")
        shadow = next((before for before in earlier if rule.when.implies(before.when)), None)
        if shadow is not None:
            words = (
                f"this rule can never win: whatever it matches, {shadow.name!r} matches before it; move it up"
            )
            yield Finding((*path, "name"), words)
        earlier.append(rule)
        yield from _target(path, rule)


def _target(path: Path, rule: Rule) -> Iterator[Finding]:
    parameters = dict(rule.target.parameters)
    if parameters.get("prove") == "none":
        words = "unproven: images are passed on without comparing a single pixel with the original's"
        yield Finding((*path, "prove"), words, warning=True)
    if parameters.get("lossy_uid") == "keep":
        words = "two images under one SOP Instance UID: whoever gets both may keep the lossy one (PS3.3 C.7.6.1.1.5)"
        yield Finding((*path, "lossy", "uid"), words, warning=True)
    if "lossy_max_error" in parameters:
        yield from _never_lossy(path, rule, parameters)
    yield from _not_taken(path, rule, parameters.get("from"))
    if str(lookup(rule.target.transfer_syntax or "")) == _NEAR_LOSSLESS and not _asks_unsigned(rule.when):
        words = (
            "near-lossless JPEG-LS may be far off on signed pixels; the bound is enforced for each object, "
            "or ask for PixelRepresentation: 0"
        )
        yield Finding((*path, "transfer_syntax"), words, warning=True)


def _never_lossy(path: Path, rule: Rule, parameters: Mapping[str, object]) -> Iterator[Finding]:
    """Modalities that a lossy rule names in vain."""
    instead = f"what its beyond: says, {parameters.get('lossy_beyond', 'lossless')}, is done with it"
    for at, clause in rule.when.located():
        if clause.subject != ("00080060",) or clause.operator is not Operator.IS or clause.negated:
            continue
        for modality in clause.operands:
            if modality in _NEVER_LOSSY:
                yield Finding((*path, "when", *at), f"{modality} is never lossy: {instead}", warning=True)
            elif modality == "MG" and "lossy_also" not in parameters:
                words = f"MG is lossy only by name, lossy: {{also: [MG]}}: as it stands, {instead}"
                yield Finding((*path, "when", *at), words, warning=True)


def _not_taken(path: Path, rule: Rule, taken: object) -> Iterator[Finding]:
    """Encodings that a rule asks for and then does not take (``transcode.wishes``: from)."""
    target = rule.target.transfer_syntax
    if target is None or (str(lookup(target)) in NATIVE and taken is None):
        return
    words = taken if isinstance(taken, tuple) else (UNCOMPRESSED,)
    for at, clause in rule.when.located():
        if clause.subject is not Fact.TRANSFER_SYNTAX or clause.operator is not Operator.IS or clause.negated:
            continue
        for uid in clause.operands:
            syntax = lookup(uid)
            kind = UNCOMPRESSED if syntax.native else LOSSLESS
            if uid == target or uid in words or (kind in words and not syntax.lossy):
                continue
            said = (
                f"{syntax} is not among what from: takes ({', '.join(str(lookup(word)) for word in words)}): "
            )
            yield Finding((*path, "when", *at), f"{said}it goes on as received", warning=True)


def _asks_unsigned(when: Condition) -> bool:
    return any(
        isinstance(clause, Clause)
        and clause.subject == ("00280103",)
        and (clause.operator, clause.operands, clause.negated) == (Operator.IS, ("0",), False)
        for clause in when.clauses
    )


def check_codecs(data: Mapping[str, Data], codecs: Codecs) -> Iterator[Finding]:
    """Find codecs that nobody has, and what they would ignore. Other mistakes in a rule hide none of these."""
    rules = data.get("rules")
    for index, rule in enumerate(rules if isinstance(rules, list) else ()):
        if not isinstance(rule, dict):
            continue
        name, text = rule.get("codec"), rule.get("transfer_syntax")
        if not isinstance(name, str) or not isinstance(text, str):
            continue
        try:
            name, uid = name_of(name), syntax_uid(text)
        except ValueError:
            continue  # the schema says so
        known = codecs().get(uid, {})
        if known and name not in known:
            words = f"{lookup(uid)} has no codec {name!r}{suggestion(name, list(known))} (it has: {', '.join(known)})"
            yield Finding(("rules", index, "codec"), words)
        for option in OPTIONS:
            others = [other for other, takes in known.items() if option in takes]
            if option in rule and name in known and others and name not in others:
                words = (
                    f"the codec {name!r} takes no {option} (it would be ignored): choose {', '.join(others)}"
                )
                yield Finding(("rules", index, option), words, at_key=True)
