"""How the verbs show things: rich tables at a terminal, JSON lines of plain fields to ``--json``."""

import dataclasses
import json
import time
from typing import Any

from rich.console import Console
from rich.table import Table

from venturi.dataset.syntaxes import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    lookup,
)
from venturi.model import Lossy, Proof

console = Console(highlight=False)
NO_BREAK = "\N{NO-BREAK SPACE}"
PROOFS = {
    Proof.ORIGINAL: "the received bytes",
    Proof.PIXELS: "every pixel proven equal",
    Proof.BOUND: "every error proven within its bound",
    Proof.NONE: "NOT PROVEN: no pixel was compared",
}
"""How a rendition is known to be right, in words."""
_SHORT = {
    IMPLICIT_VR_LITTLE_ENDIAN: "Implicit LE",
    EXPLICIT_VR_LITTLE_ENDIAN: "Explicit LE",
    EXPLICIT_VR_BIG_ENDIAN: "Big endian",
}
aside = Console(highlight=False, stderr=True)
"""For what is said along the way: never mixed with the answer."""


def short(uid: str) -> str:
    """A transfer syntax as narrow columns show it: its keyword, the three longest abbreviated."""
    return _SHORT.get(uid, str(lookup(uid)))


def size(count: float) -> str:
    """A number of bytes in words: ``1.5 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def moment(seconds: float) -> str:
    """A time as local date and time; nothing for 0."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if seconds else ""


def clock(seconds: float) -> str:
    """A time as narrow columns show it: of day where it is today, with the date where it is older; in one piece."""
    then, today = time.localtime(seconds), time.localtime()
    form = "%H:%M:%S" if then[:3] == today[:3] else f"%Y-%m-%d{NO_BREAK}%H:%M"
    return time.strftime(form, then)


def span(seconds: float) -> str:
    """A time that something takes: ``42 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return (
        f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
    )


def printable(name: str) -> str:
    """A file's name as it can be shown: bytes that are no text, and what a terminal would obey, as escapes."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in name)


def saving(before: int, after: int) -> str:
    """How much smaller: ``-63%``; nothing where there was nothing."""
    return f"{(after - before) / before:+.0%}" if before else ""


def lost(lossy: Lossy, sop_instance_uid: str) -> str:
    """What a lossy rendition of the instance with that UID lost, and who it is now."""
    psnr = "nothing differs" if lossy.psnr_db is None else f"PSNR {lossy.psnr_db:.1f} dB"
    same = lossy.sop_instance_uid == sop_instance_uid
    name = "same SOP Instance UID" if same else f"new SOP Instance UID {lossy.sop_instance_uid}"
    return f"no sample differs by more than {lossy.max_error}, {psnr}, {lossy.ratio:.2f}:1, {name}"


def table(title: str, *columns: str) -> Table:
    """An empty table; a column whose name ends in ``>`` is aligned right."""
    made = Table(
        title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim"
    )
    for column in columns:
        made.add_column(
            column.rstrip(">"), justify="right" if column.endswith(">") else "left", overflow="fold"
        )
    return made


def as_json(value: Any) -> str:
    """Dataclasses, tuples and enums as JSON."""
    return json.dumps(value, default=_plain, indent=1, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return str(value)
