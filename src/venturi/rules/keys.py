"""The keys of ``when`` that name attributes: text -> the path that ``Header.values`` takes, and the VR.

Written as                                      meaning
``Modality``                                    a keyword of the data dictionary (PS3.6)
``(0008,0060)``, ``0008,0060``, ``00080060``    its tag
``(0019,xx0C,"SIEMENS MR HEADER")``             private: element 0C of the block that this creator reserved
                                                (PS3.5 7.8.1); ``(0019,0C,SIEMENS MR HEADER)`` is the same
``RequestAttributesSequence.ProtocolName``      in any item of a sequence; each step may be any of the above

A private attribute without its creator is refused: in another vendor's objects the same tag is another thing.
A key that names nothing raises ValueError with what to write instead.
"""

import difflib
import re
from dataclasses import dataclass

from venturi.dataset.dictionary import private_vr_of, tags, vr_of

_HEX4 = "[0-9A-Fa-f]{4}"
_PRIVATE = re.compile(rf'\(({_HEX4}),\s*(?:[xX]{{2}})?([0-9A-Fa-f]{{2}}),\s*(?:"([^"\\]+)"|([^"\\)]+))\)')
_TAG = re.compile(rf"\(({_HEX4}),\s*({_HEX4})\)|({_HEX4}),({_HEX4})|({_HEX4})({_HEX4})(?![0-9A-Za-z])")
_KEYWORD = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_SPLIT_TAG = re.compile(rf"\(?{_HEX4}|[0-9A-Fa-fxX]{{2,4}}\)")


@dataclass(frozen=True, slots=True)
class Key:
    """An attribute by its path."""

    path: tuple[str, ...]
    """As ``Header.values`` takes it."""
    vr: str
    """The last step's in the dictionary; ``UN`` where it has no single known one."""


def suggestion(name: str, known: list[str]) -> str:
    """``; did you mean X?`` for a name that is near a known one, or nothing."""
    lowered = {word.lower(): word for word in known}
    near = difflib.get_close_matches(name.lower(), list(lowered), n=1, cutoff=0.7)
    if not near and len(name) > 2:
        near = sorted((word for word in lowered if word.startswith(name.lower())), key=len)[:1]
    return f"; did you mean {lowered[near[0]]}?" if near else ""


def suggest_keyword(text: str) -> str:
    """``; did you mean X?`` for what is near a keyword, or nothing."""
    return suggestion(text, list(tags()))


def _tag(group: int, element: int) -> tuple[str, str]:
    tag = group << 16 | element
    if group in (0x0000, 0x0002):
        raise ValueError(
            f"({group:04X},{element:04X}) is not part of the dataset; ask for transfer_syntax, calling_ae, "
            "called_ae or SOPClassUID instead"
        )
    if group % 2 and not (element == 0 or 0x10 <= element <= 0xFF):
        raise ValueError(
            f"({group:04X},{element:04X}) is private: its block number differs from object to object, so "
            f"name its creator: '({group:04X},xx{element & 0xFF:02X},\"CREATOR\")'"
        )
    if group % 2:
        return f"{tag:08x}", "LO"
    try:
        return f"{tag:08x}", vr_of(tag)
    except KeyError:
        return f"{tag:08x}", "UN"


def _private(group: int, element: int, creator: str) -> tuple[str, str]:
    if group % 2 == 0 or group < 0x0009 or not creator:
        raise ValueError(f"({group:04X},xx{element:02X}) is not private: leave its creator out")
    try:
        vr = private_vr_of(group << 16 | 0x1000 | element, creator)
    except KeyError:
        vr = "UN"  # a block the dictionary doesn't know is as welcome as one it does
    return f"{group:04x}00{element:02x}:{creator}", vr


def _keyword(word: str, facts: list[str]) -> tuple[str, str]:
    tag = tags().get(word)
    if tag is None:
        hint = suggestion(word, [*facts, *tags()])
        raise ValueError(f"{word} is neither an attribute's keyword nor a fact of the association{hint}")
    return _tag(tag >> 16, tag & 0xFFFF)


def _step(text: str, start: int, facts: list[str]) -> tuple[str, str, int]:
    if match := _PRIVATE.match(text, start):
        step, vr = _private(int(match[1], 16), int(match[2], 16), (match[3] or match[4]).strip())
    elif match := _TAG.match(text, start):
        group, element = [part for part in match.groups() if part]
        step, vr = _tag(int(group, 16), int(element, 16))
    elif match := _KEYWORD.match(text, start):
        step, vr = _keyword(match[0], facts)
    else:
        raise ValueError(
            f"{text!r} names no attribute: write a keyword, '(gggg,eeee)', '(gggg,xxee,\"CREATOR\")', or "
            "several joined by dots"
        )
    return step, vr, match.end()


def split_by_yaml(text: str) -> bool:
    """Whether a key looks like half of a tag that a flow mapping split at its comma."""
    return _SPLIT_TAG.fullmatch(text) is not None


def parse_key(text: str, facts: list[str]) -> Key:
    """The attribute a key names. ``facts`` are the other names a key may have, for the error's advice."""
    path: list[str] = []
    position = 0
    while True:
        step, vr, position = _step(text, position, facts)
        path.append(step)
        if position == len(text):
            return Key(tuple(path), vr)
        if text[position] != ".":
            raise ValueError(f"{text!r}: what follows {text[:position]!r} is not understood")
        if vr not in ("SQ", "UN"):
            raise ValueError(
                f"{text!r}: {text[:position]!r} is not a sequence ({vr}), so nothing is inside it"
            )
        position += 1
