"""What a UID may look like, and how to show text that came from the network in a log.

Pure functions; nothing raises.
"""

import re

_UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))+", re.ASCII)


def valid_uid(text: str) -> bool:
    """Whether ``text`` is a UID (PS3.5 9.1): at most 64 characters, numeric components without leading zeros.

    A single component is not a UID: a root alone (PS3.5 9: org root, then a suffix) names no instance.
    """
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def printable(text: str) -> str:
    r"""``text`` with every character that a terminal or a log reader might act on as an escape (``\x1b``).

    Backslashes are doubled, so that what is shown has one meaning; spaces stay.
    """
    return "".join(
        char if char.isprintable() and char != "\\" else char.encode("unicode_escape").decode()
        for char in text
    )


_TOLERATED = re.compile(r"[0-9]+(\.[0-9]+)*", re.ASCII)


def tolerable_uid(text: str) -> bool:
    """Whether a UID of the network is fit to be kept: at most 64 digits and dots.

    Leading zeros in a component are against the standard too, but old devices send them, and they harm
    nothing.
    """
    return len(text) <= 64 and _TOLERATED.fullmatch(text) is not None
