"""The expendable process: checks the bytes, asks the rules, encodes, proves, and writes renditions.

It knows no ledger and no network, and has limits (see ``sandbox.py``). It may crash, hang or eat memory over hostile
pixels: its crew sees that, and the object goes on as received.
"""

import gc
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection

from venturi.errors import Damaged, SpoolFailed, SpoolFull
from venturi.log import get_logger
from venturi.transcode import sandbox
from venturi.transcode.messages import READY, Asked, Help, Work
from venturi.transcode.port import Answer, Transcoder
from venturi.transcode.shares import Done, Request, Share, Spread

log = get_logger()

Do = Callable[[Work, Spread | None], Answer]
"""Does a job. Raises Damaged, SpoolFull, SpoolFailed, OSError."""


def serve(connection: Connection, do: Do, transcoder: Transcoder) -> None:
    """Answer each ``Work`` and each ``Help``, or say the error it raised, until the foreman hangs up."""
    connection.send(READY)
    gc.freeze()  # what is here now stays
    while True:
        try:
            asked: Asked = connection.recv()
        except (EOFError, OSError):
            return
        for each in asked:
            answer = _answer(connection, each, do, transcoder)
            try:
                connection.send(answer)
            except OSError:  # the foreman is gone; whoever claims the instance next does the same work again
                return


def _answer(
    connection: Connection, asked: Work | Help, do: Do, transcoder: Transcoder
) -> Answer | Done | Exception:
    try:
        sandbox.confine(asked.limits)
        if isinstance(asked, Help):
            return transcoder.share(asked.share)
        transcoder.let_go()
        return do(asked, _Asks(connection) if asked.spread else None)
    except (Damaged, SpoolFull, SpoolFailed, OSError) as error:
        return error
    except Exception:
        # A mistake of ours: this worker ends, and its crew does with the object as after any death.
        log.exception("worker failed", job=_name(asked))
        sys.exit(1)


def _name(asked: Work | Help) -> str:
    return asked.job.name if isinstance(asked, Work) else f"share {asked.share.number}"


class _Asks:
    """A ``Spread``: asks the crew over the connection, and does what it is told to do itself."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __call__(self, request: Request, do: Callable[[Share], Done]) -> tuple[Done, ...]:
        """See the port."""
        self._connection.send(request)
        while not isinstance(said := self._connection.recv(), tuple):
            if isinstance(said, OSError):
                raise said
            try:
                answer: Done | OSError = do(request.shares[said])
            except OSError as error:
                answer = error  # raised when the crew says so: the others have stopped then
            self._connection.send(answer)
        return said
