"""The expendable process: checks the bytes, asks the rules, encodes, proves, and writes renditions.

It knows no ledger and no network, and has limits (see ``sandbox.py``). It may crash, hang or eat memory over hostile
pixels: its foreman sees that, and the object goes on as received.
"""

import errno
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import structlog

from venturi.config.schema import Config
from venturi.dataset import part10
from venturi.dataset.facts import read_header
from venturi.errors import Damaged, SpoolFailed, SpoolFull
from venturi.model import Instance, Judgement, Outcome, Reason, Target
from venturi.rules.decide import decide
from venturi.rules.facts import Facts
from venturi.spool.port import Spool
from venturi.transcode import sandbox
from venturi.transcode.dataset_file import digest
from venturi.transcode.port import Transcoder

log = structlog.get_logger()

READY = "ready"
"""A worker's first message."""
_LIMITS = {errno.ENOMEM: "no memory is left to it", errno.EFBIG: "its rendition would be too long a file"}
"""Errors of the operating system that are the object's own fault: it met a limit, and would again."""


@dataclass(frozen=True, slots=True)
class Work:
    """One instance to judge."""

    instance: Instance
    limits: sandbox.Limits
    deaths: str = ""
    """How it has ended workers, in words: then it is not encoded."""


def verify(path: Path, instance: Instance) -> None:
    """Check that the dataset in a spool file is the one received. Raises Damaged."""
    with path.open("rb") as file:
        _, offset = part10.read(file)
    if digest(path, offset) != instance.sha256:
        raise Damaged(f"instance {instance.id}: the dataset no longer has the SHA-256 it was received with")


class Worker:
    """Judges instances, one at a time."""

    def __init__(self, config: Config, spool: Spool, transcoder: Transcoder) -> None:
        self._config = config
        self._spool = spool
        self._transcoder = transcoder

    def judge(self, work: Work) -> Judgement:
        """Decide for every destination and make what is needed.

        Raises Damaged; OSError, SpoolFull or SpoolFailed where a rendition can't be written or kept.
        """
        instance = work.instance
        source = self._spool.materialise(instance)
        verify(source, instance)
        with read_header(source) as header:
            facts = Facts(header, instance.envelope, instance.size_bytes)
            verdict = decide(self._config.rules, self._config.routes, facts)
            summary = header.summary()
        targets = dict.fromkeys(decision.target for decision in verdict.decisions)
        outcomes = tuple(self._make(work, source, target) for target in targets)
        return Judgement(instance, verdict.decisions, outcomes, verdict.held, summary, self._config.digest)

    def _make(self, work: Work, source: Path, target: Target) -> Outcome:
        if target.transfer_syntax is None:
            return as_received(work.instance, target, Reason.ASKED)
        if work.deaths:
            return as_received(work.instance, target, Reason.WORKER_DIED, work.deaths)
        draft = self._spool.draft_rendition(work.instance, target)
        try:
            outcome = self._transcoder.transcode(source, target, draft.path)
            if outcome.transcoded:
                draft.commit()
        except OSError as error:
            if error.errno not in _LIMITS:
                raise
            return as_received(work.instance, target, Reason.TOO_LARGE, _LIMITS[error.errno])
        finally:
            draft.discard()
        return outcome


def as_received(instance: Instance, target: Target, reason: Reason, detail: str = "") -> Outcome:
    """The outcome that lets the original stand for a target."""
    return Outcome(
        target=target,
        transfer_syntax=instance.envelope.transfer_syntax,
        size_bytes=instance.size_bytes,
        sha256=instance.sha256,
        reason=reason,
        detail=detail,
    )


def serve(connection: Connection, judge: Callable[[Work], Judgement]) -> None:
    """Answer each ``Work`` with its ``Judgement`` or its exception, until the foreman hangs up."""
    connection.send(READY)
    while True:
        try:
            work: Work = connection.recv()
        except (EOFError, OSError):
            return
        try:
            sandbox.confine(work.limits)
            answer: Judgement | Exception = judge(work)
        except (Damaged, SpoolFull, SpoolFailed, OSError) as error:
            answer = error
        except Exception:
            # A mistake of ours: this worker ends, and the foreman does with the object as after any death.
            log.exception("worker failed", instance=work.instance.id)
            sys.exit(1)
        try:
            connection.send(answer)
        except OSError:  # the foreman is gone; whoever claims the instance next does the same work again
            return
