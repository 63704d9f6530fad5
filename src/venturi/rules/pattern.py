"""Globs and regular expressions over values from the network, bounded.

A glob (``*``, ``?``, ``[abc]``; the whole value must match) takes time proportional to its length times the
value's.

A regular expression (Python's ``re``; found anywhere in the value unless anchored) backtracks, so an unlucky
one could stop a worker for hours on a value made for it. Therefore:

- it looks at the first 256 characters of a value, and at no more than 1,024 of all values together;
- nothing that can itself match in several ways (a choice, a repeat) may be repeated, and there are no back
  references: what is left is polynomial;
- the product of all its choices over 256 characters is computed when it is read, and refused above 20
  million. Measured on one core, over values made for them: three ``.*`` take half a second, the
  worst found (two dozen optional groups in a row) six seconds.

``check_regex`` raises ValueError with what to write instead.
"""

import fnmatch
import re
import warnings
from collections.abc import Iterable
from functools import lru_cache

MAX_VALUE_CHARS = 256
MAX_TOTAL_CHARS = 1024
MAX_STEPS = 20_000_000

_GROUP = re.compile(r"\((?:\?(?:P<\w+>|<[=!]|[=!:>]|[A-Za-z]*-?[A-Za-z]*(?=[:)]):?))?")
_REPEAT = re.compile(r"(?:([*+?])|\{(\d*)(,?)(\d*)\})[?+]?")
_CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)


@lru_cache(maxsize=1024)
def _regex(text: str) -> re.Pattern[str]:
    return re.compile(text)


@lru_cache(maxsize=1024)
def _glob(text: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(text))


def glob_matches(pattern: str, values: Iterable[str]) -> bool:
    """Whether any whole value matches; case counts."""
    return any(_glob(pattern).match(value) for value in values)


def regex_matches(pattern: str, values: Iterable[str]) -> bool:
    """Whether it is found in any value, within the bounds above; case counts unless it says ``(?i)``."""
    left = MAX_TOTAL_CHARS
    for value in values:
        seen = value[: min(MAX_VALUE_CHARS, left)]
        if _regex(pattern).search(seen):
            return True
        left -= len(seen)
        if left <= 0:
            return False
    return False


def check_regex(text: str) -> None:
    """Raise ValueError unless it is a regular expression whose worst case is bounded as the module says."""
    if len(text) > 1000:
        raise ValueError("a regular expression of more than 1,000 characters is refused")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "error", FutureWarning
            )  # "[[": its meaning may change, so it is refused now
            re.compile(text)
    except (re.error, OverflowError, RecursionError, FutureWarning) as error:
        raise ValueError(f"{text!r} is not a regular expression: {error}") from error
    if _steps(text) > MAX_STEPS:
        raise ValueError(
            f"{text!r} could take too long on an unlucky value: use fewer of * + ? {{}} and |, begin it with "
            "^, or write a glob or a list"
        )


class _Level:
    """One group while it is scanned."""

    def __init__(self) -> None:
        self.varies = False
        self.branches = 1


def _steps(text: str) -> int:
    """An upper bound of the steps over MAX_VALUE_CHARS characters. ``text`` compiles already."""
    levels = [_Level()]
    product = 1
    atom_varies = False
    position = 0
    while position < len(text):
        char = text[position]
        repeat = _REPEAT.match(text, position)
        if char == "\\":
            if text[position + 1] in "123456789":
                raise ValueError(f"{text!r}: back references are refused, they can't be bounded")
            atom_varies, position = False, position + 2
        elif char == "[" and (match := _CLASS.match(text, position)):
            atom_varies, position = False, match.end()
        elif char == "(":
            match = _GROUP.match(text, position)
            prefix = match[0] if match else "("
            following = text[position + len(prefix) :][:1]
            if (prefix == "(" and following == "?") or ("x" in prefix and "<" not in prefix):
                raise ValueError(f"{text!r}: references, conditions, comments and the flag x are refused")
            levels.append(_Level())
            position += len(prefix)
        elif char == ")":
            level = levels.pop()
            product *= level.branches
            atom_varies = level.varies
            levels[-1].varies |= level.varies
            position += 1
        elif char == "|":
            levels[-1].branches += 1
            levels[-1].varies = True
            position += 1
        elif repeat and repeat[0] not in ("{}", "{,}"):
            low, high = _bounds(repeat)
            if high > 1 and atom_varies:
                raise ValueError(
                    f"{text!r} repeats something that can itself match in several ways, which could take "
                    "forever on an unlucky value: simplify it, or write a glob or a list"
                )
            if high != low:
                product *= min(high - low, MAX_VALUE_CHARS) + 1
                levels[-1].varies = True
            atom_varies, position = True, repeat.end()
        else:
            atom_varies, position = False, position + 1
    product *= levels[0].branches
    anchored = text.startswith(("^", "\\A")) and levels[0].branches == 1
    return product if anchored else product * MAX_VALUE_CHARS


def _bounds(repeat: re.Match[str]) -> tuple[int, int]:
    many = 1 << 31
    if repeat[1]:
        return {"*": (0, many), "+": (1, many), "?": (0, 1)}[repeat[1]]
    low = int(repeat[2] or 0)
    return low, low if not repeat[3] else int(repeat[4] or many)
