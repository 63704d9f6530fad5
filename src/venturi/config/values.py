"""The small types of the configuration: text in, numbers and names out.

Each ``..._of`` raises ValueError with what to write instead. The annotated types apply them to text and let
anything that is converted already pass.
"""

import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, ValidationInfo

from venturi.dataset.uids import valid_uid
from venturi.rules.parse import syntax_uid, uid_of
from venturi.rules.units import size_bytes

Network = IPv4Network | IPv6Network

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_RATE = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)\s*(?:(kbit|Mbit|Gbit)/s|/(s|min|h))")
_BITS = {"kbit": 1e3, "Mbit": 1e6, "Gbit": 1e9}
_PER = {"s": 1.0, "min": 60.0, "h": 3600.0}
_WINDOW = re.compile(r"(\d{1,2}):([0-5]\d)\s*-\s*(\d{1,2}):([0-5]\d)")
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,4})?)\s*%")
_HOST = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})(?:\.[A-Za-z0-9_-]{1,63})*\.?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


Codecs = Callable[[], Mapping[str, Mapping[str, Collection[str]]]]
"""Gives the options that each encoder takes, by the UID of its transfer syntax and its name; of a syntax that is only
read, no encoders. Called only where a rule names an encoder, or a syntax that is not ours, since it may load a lot."""


@dataclass(frozen=True, slots=True)
class Source:
    """What validation knows of the file; without it, values come from a program and not from YAML."""

    folder: Path
    """Absolute; relative paths are relative to it."""
    codecs: Codecs | None = None
    """Which there are: this room knows none. Without it, rules may name any encoder, and our syntaxes only."""


class HostPort(NamedTuple):
    """Where to listen or to connect: ``0.0.0.0:11112``, ``[::1]:104``."""

    host: str
    port: int


def duration_of(text: str) -> float:
    """Seconds from ``500ms``, ``30s``, ``5m``, ``12h``, ``7d``; ``0`` is none."""
    match = _DURATION.fullmatch(text.strip())
    if match:
        return float(match[1]) * _SECONDS[match[2]]
    if text.strip() == "0":
        return 0.0
    raise ValueError(f"{text!r} is not a duration: write a number with ms, s, m, h or d, such as 30s or 7d")


def percent_of(text: str) -> float:
    """The fraction, 0.0 to 1.0, from ``10%``."""
    match = _PERCENT.fullmatch(text.strip())
    if not match or float(match[1]) > 100:
        raise ValueError(f"{text!r} is not a percentage: write 0% to 100%, such as 10%")
    return float(match[1]) / 100


class Rate(NamedTuple):
    """How fast something may go; None: as fast as it can."""

    objects_per_s: float | None = None
    bytes_per_s: float | None = None


def rate_of(text: str) -> Rate:
    """From ``5/s``, ``30/min``, ``100 Mbit/s``, ``512 kbit/s``, or two of them: ``5/s, 100 Mbit/s``."""
    found = Rate()
    for part in text.split(","):
        match = _RATE.fullmatch(part.strip())
        if not match or not float(match[1]):
            raise ValueError(
                f"{text!r} is not a rate: write 5/s, 30/min, 100 Mbit/s or 512 kbit/s, or two: 5/s, 100 Mbit/s"
            )
        if match[2]:
            found = found._replace(bytes_per_s=float(match[1]) * _BITS[match[2]] / 8)
        else:
            found = found._replace(objects_per_s=float(match[1]) / _PER[match[3]])
    return found


class Window(NamedTuple):
    """A part of each day, in minutes after midnight, local time; it may go over midnight."""

    start: int
    end: int

    def holds(self, minute: int) -> bool:
        """Whether a minute of the day is in it."""
        if self.start < self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end

    def __str__(self) -> str:
        """As it is written."""
        return "-".join(f"{at // 60:02}:{at % 60:02}" for at in self)


def window_of(text: str) -> Window:
    """From ``20:00-06:00``."""
    match = _WINDOW.fullmatch(text.strip())
    if match:
        start, end = int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])
        if start < 1440 and end <= 1440 and start != end:
            return Window(start, end)
    raise ValueError(f"{text!r} is no time of the day: write FROM-TO such as 20:00-06:00")


def whole_of(text: str) -> int:
    """A whole number from its decimal digits."""
    if not re.fullmatch(r"[+-]?\d{1,12}", text.strip(), re.ASCII):
        raise ValueError(f"{text!r} is not a whole number")
    return int(text)


def number_of(text: str) -> float:
    """A number such as ``10`` or ``2.5``."""
    if not re.fullmatch(r"[+-]?\d{1,12}(\.\d{1,9})?", text.strip(), re.ASCII):
        raise ValueError(f"{text!r} is not a number")
    return float(text)


def flag_of(text: str) -> bool:
    """From ``true`` or ``false``, and nothing else that YAML may mean by them."""
    if text not in ("true", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return text == "true"


def mode_of(text: str) -> int:
    """The mode of files or folders, from octal digits: ``0640``."""
    if not re.fullmatch(r"0?[0-7]{3}", text.strip()):
        raise ValueError(f"{text!r} is not a mode: write three octal digits, such as 0640")
    mode = int(text, 8)
    if mode & 0o600 != 0o600:
        raise ValueError(f"{text!r}: the node itself must be able to read and write it")
    return mode


def folder_mode_of(text: str) -> int:
    """The mode of folders: who may not enter one can't write there."""
    mode = mode_of(text)
    if mode & 0o700 != 0o700:
        raise ValueError(f"{text!r}: the node itself must be able to enter it: write 0750, say")
    return mode


def port_of(text: str) -> int:
    """A TCP port; 0 lets the system choose one."""
    if not re.fullmatch(r"\d{1,5}", text.strip(), re.ASCII) or int(text) > 65535:
        raise ValueError(f"{text!r} is not a port: write 0 to 65535")
    return int(text)


def host_of(text: str) -> str:
    """An IP address (IPv6 with or without brackets) or a host name; only its form is looked at."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return str(ip_address(bare))
    except ValueError:
        if bare != text or not _HOST.fullmatch(text) or re.fullmatch(r"[\d.]+", text):
            raise ValueError(f"{text!r} is neither a host name nor an IP address") from None
    return text


def host_port_of(text: str) -> HostPort:
    """From ``127.0.0.1:11112``, ``pacs.example.org:104``, ``[::1]:104``."""
    host, colon, port = text.strip().rpartition(":")
    if not colon or not host or (":" in host and not host.startswith("[")):
        raise ValueError(f"{text!r} is not HOST:PORT: write 127.0.0.1:11112, or '[::1]:11112' for IPv6")
    return HostPort(host_of(host), port_of(port))


def ae_title_of(text: str) -> str:
    """An AE title (PS3.5 6.2): 1 to 16 characters of the default repertoire, no backslash; padding trimmed."""
    trimmed = text.strip(" ")
    if not re.fullmatch(r"[ -\[\]-~]{1,16}", trimmed):
        raise ValueError(f"{text!r} is not an AE title: 1 to 16 ASCII characters, no backslash, no control")
    return trimmed


def network_of(text: str) -> Network:
    """From ``10.1.0.0/24`` or a single address."""
    try:
        return ip_network(text.strip())
    except ValueError:
        pass
    try:
        near = ip_network(text.strip(), strict=False)
    except ValueError:
        raise ValueError(
            f"{text!r} is not a network: write an address or a range such as 10.1.0.0/24; a name goes to host:"
        ) from None
    raise ValueError(f"{text!r} has bits set beyond its prefix: write {near}, or the address alone")


def name_of(text: str) -> str:
    """The name of a peer or a destination: it also labels metrics and queues."""
    if not _NAME.fullmatch(text):
        raise ValueError(f"{text!r} is not a name: up to 64 letters, digits, _ . - and no spaces")
    return text


def title_of(text: str) -> str:
    """The name of a rule: any printable text of up to 64 characters that is not in parentheses."""
    if not 1 <= len(text) <= 64 or not text.isprintable() or text.startswith("("):
        raise ValueError(f"{text!r} is not a rule's name: 1 to 64 printable characters, not beginning with (")
    return text


def sop_class_of(text: str) -> str:
    """The UID of a SOP class from its keyword or itself: ``CTImageStorage``."""
    return text if valid_uid(text) else uid_of(text)


def _path(value: Any, info: ValidationInfo) -> Any:
    if not isinstance(info.context, Source):
        return value
    if isinstance(value, Path):  # a default
        return info.context.folder / value
    if not isinstance(value, str):
        return value
    if not value or not value.isprintable():
        raise ValueError(f"{value!r} is not a path")
    if value.startswith("~"):
        raise ValueError("~ is not expanded: write the whole path, or one relative to this file")
    return Path(os.path.normpath(info.context.folder / value))


def _existing(value: Any, info: ValidationInfo) -> Any:
    path = _path(value, info)
    if isinstance(path, Path) and isinstance(info.context, Source) and not path.is_file():
        raise ValueError(f"there is no file {path}: paths are relative to the configuration file")
    return path


def from_text(convert: Callable[[str], Any]) -> BeforeValidator:
    """Apply a ``..._of`` to text; what is converted already passes."""
    return BeforeValidator(lambda value: convert(value) if isinstance(value, str) else value)


def one_or_many(value: Any) -> Any:
    """One text as a list of it."""
    return [value] if isinstance(value, str) else value


Duration = Annotated[float, from_text(duration_of)]
Fraction = Annotated[float, from_text(percent_of)]
Size = Annotated[int, from_text(size_bytes)]
Whole = Annotated[int, from_text(whole_of)]
Flag = Annotated[bool, from_text(flag_of)]
Mode = Annotated[int, from_text(mode_of)]
FolderMode = Annotated[int, from_text(folder_mode_of)]
Port = Annotated[int, from_text(port_of)]
Number = Annotated[float, from_text(number_of)]
Host = Annotated[str, from_text(host_of)]
Listen = Annotated[HostPort, from_text(host_port_of)]
AeTitle = Annotated[str, from_text(ae_title_of)]
AnyNetwork = Annotated[Network, from_text(network_of)]
Name = Annotated[str, from_text(name_of)]
RuleName = Annotated[str, from_text(title_of)]
PathOf = Annotated[Path, BeforeValidator(_path)]
ExistingFile = Annotated[Path, BeforeValidator(_existing)]
AeTitles = Annotated[tuple[AeTitle, ...], BeforeValidator(one_or_many)]
Networks = Annotated[tuple[AnyNetwork, ...], BeforeValidator(one_or_many)]
Names = Annotated[tuple[str, ...], BeforeValidator(one_or_many)]
SopClasses = Annotated[tuple[Annotated[str, from_text(sop_class_of)], ...], BeforeValidator(one_or_many)]
Syntaxes = Annotated[tuple[Annotated[str, from_text(syntax_uid)], ...], BeforeValidator(one_or_many)]
RateOf = Annotated[Rate, from_text(rate_of)]
Windows = Annotated[tuple[Annotated[Window, from_text(window_of)], ...], BeforeValidator(one_or_many)]
Numbers = Annotated[tuple[Number, ...], BeforeValidator(one_or_many)]
