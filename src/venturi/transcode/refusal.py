"""Why an object is not transcoded, as an exception that stays inside this room."""

from collections.abc import Iterator
from contextlib import contextmanager

from venturi.errors import Malformed, Permanent
from venturi.model import Reason


class Refused(Permanent):
    """The object goes on as received. ``detail`` has figures, and nothing of the header's text."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def reason_of(error: Refused | Malformed | MemoryError) -> tuple[Reason, str]:
    """Why the object goes on as received, and in words."""
    match error:
        case Refused():
            return error.reason, error.detail
        case Malformed():
            return Reason.MALFORMED, str(error)
        case _:
            return Reason.TOO_LARGE, "no memory for it"


@contextmanager
def blame(reason: Reason, where: str) -> Iterator[None]:
    """Turn whatever a codec raises into Refused: the original is there to go on.

    Codecs are libraries and other people's packages, fed with hostile bytes: they may raise anything.
    """
    try:
        yield
    except Refused as refused:
        raise Refused(refused.reason, f"{where}: {refused.detail}") from refused
    except Malformed as error:
        raise Refused(reason, f"{where}: {error}") from error
    except MemoryError as error:
        raise Refused(Reason.TOO_LARGE, f"{where}: no memory for it") from error
    except Exception as error:
        raise Refused(reason, f"{where}: {type(error).__name__}: {error}"[:200]) from error
