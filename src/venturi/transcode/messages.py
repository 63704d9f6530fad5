"""What foreman and worker say to each other, and how the foreman hears it.

A worker has read hostile bytes: nothing it says is taken for more than an answer to what it was asked, a request to
spread the job in its hand, or an error that it may raise.
"""

import builtins
import functools
import io
import pickle
import types
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from operator import attrgetter
from typing import Any, get_args, get_origin, get_type_hints

from venturi.errors import Damaged, SpoolFailed, SpoolFull
from venturi.model import Judgement
from venturi.transcode.port import Answer, Compress, Compressed, Job, Judge
from venturi.transcode.sandbox import Limits
from venturi.transcode.shares import MOST_SHARE_BYTES, MOST_SHARES, Done, Request, Share

READY = "ready"
"""A worker's first message."""


@dataclass(frozen=True, slots=True)
class Work:
    """To a worker: a job."""

    job: Job
    limits: Limits
    deaths: str = ""
    """How it has ended workers, in words: then it is not encoded."""
    spread: bool = False
    """Whether it may ask to have frames done by others."""


@dataclass(frozen=True, slots=True)
class Help:
    """To a worker: a share of another worker's job."""

    share: Share
    limits: Limits


Asked = tuple[Work, ...] | tuple[Help]
"""To a worker: it answers each when it is done, in this order."""

Said = Answer | Request | Done | Damaged | SpoolFull | SpoolFailed | OSError
"""What a worker may say. While it has asked to spread, it hears the number of a share to do itself, and at the end
what became of all (a tuple of ``Done``), or the OSError that stood in the way."""

_RAISED = (Damaged, SpoolFull, SpoolFailed, OSError)
_OURS = {
    "venturi.transcode.port": ("Compressed",),
    "venturi.transcode.shares": ("Done", "Phase", "Request", "Share"),
}


def read(data: bytes) -> Said | None:
    """Read what a worker says; None where it is nothing that a worker may say."""
    try:
        said = _Said(io.BytesIO(data)).load()
        known = isinstance(said, _RAISED) or any(check(said) for check in _CHECKS)
    except Exception:  # hostile bytes may make it raise whatever they like
        return None
    return said if known else None


def answers(said: Said | None, job: Job) -> bool:
    """Whether that is the answer to that job."""
    match job:
        case Judge():
            return isinstance(said, Judgement) and (said.instance, said.only) == (job.instance, job.only)
        case Compress():
            return isinstance(said, Compressed) and said.name == job.name


def is_proper(request: Request, job: Job) -> bool:
    """Whether a request's shares follow each other, are of one thing, and of that job as far as it says."""
    shares = request.shares
    if not 1 < len(shares) <= MOST_SHARES:
        return False
    one = shares[0]
    if isinstance(job, Compress) and (one.source, one.rendition) != (job.source, job.output):
        return False
    return all(
        (share.number, share.source, share.target, share.rendition, share.phase)
        == (number, one.source, one.target, one.rendition, one.phase)
        and 0 <= share.first < share.last
        and 0 < share.size_bytes <= MOST_SHARE_BYTES
        for number, share in enumerate(shares)
    )


class _Said(pickle.Unpickler):
    """Makes nothing but what a worker may say: the model's words, ours, our errors, the operating system's."""

    def find_class(self, module: str, name: str) -> Any:
        """Find one of those classes. Raises UnpicklingError for anything else."""
        if "." not in name and (
            module in ("venturi.model", "venturi.errors") or name in _OURS.get(module, ())
        ):
            found = super().find_class(module, name)
            if isinstance(found, type) and found.__module__ == module:
                return found
        if (module, name) == ("builtins", "getattr"):
            return _member
        known = getattr(builtins, name, None) if module == "builtins" else None
        if isinstance(known, type) and issubclass(known, OSError):
            return known
        raise pickle.UnpicklingError("not among what a worker may say")


def _member(kind: type[Enum], name: str) -> Enum:
    """Stand in for getattr, by which Python before 3.11.4 pickles members of enumerations."""
    return kind.__members__[name]


Check = Callable[[Any], bool]


@functools.cache
def _check(wanted: Any) -> Check:
    """Make the test whether a value is of a type as it is annotated, with all that is in it."""
    inner = [_check(kind) for kind in get_args(wanted) if kind is not Ellipsis]
    if isinstance(wanted, types.UnionType):
        return lambda value: any(check(value) for check in inner)
    if get_origin(wanted) is tuple:
        if get_args(wanted)[-1] is Ellipsis:
            (each,) = inner
            return lambda value: type(value) is tuple and all(map(each, value))
        return lambda value: (
            type(value) is tuple
            and len(value) == len(inner)
            and all(check(item) for check, item in zip(inner, value, strict=True))
        )
    if wanted is float:
        return lambda value: type(value) in (float, int)
    if not is_dataclass(wanted):
        return lambda value: type(value) is wanted
    hints = get_type_hints(wanted)
    own = [(attrgetter(field.name), _check(hints[field.name])) for field in fields(wanted)]
    return lambda value: type(value) is wanted and all(check(get(value)) for get, check in own)


_CHECKS = [_check(kind) for kind in (Judgement, Compressed, Done, Request)]
