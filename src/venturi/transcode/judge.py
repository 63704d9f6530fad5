"""The node's job: decide for an instance of the spool, and make what its destinations should get."""

from pathlib import Path

from venturi.config.schema import Config
from venturi.dataset import part10
from venturi.dataset.facts import read_header
from venturi.errors import Damaged
from venturi.ledger.port import holds
from venturi.model import Instance, Judgement, Outcome, Reason, Target
from venturi.rules.decide import decide
from venturi.rules.facts import Facts
from venturi.rules.fit import known_of, settle
from venturi.spool.port import Spool
from venturi.transcode.dataset_file import digest
from venturi.transcode.messages import Work
from venturi.transcode.port import Judge, Transcoder
from venturi.transcode.sandbox import LIMITS
from venturi.transcode.shares import Spread


def verify(path: Path, instance: Instance) -> None:
    """Check that the dataset in a spool file is the one received. Raises Damaged."""
    with path.open("rb") as file:
        _, offset = part10.read(file)
    if (
        digest(path, offset) != instance.sha256
    ):  # read, not mapped: a disk that fails is an error, not a signal
        raise Damaged(f"instance {instance.id}: the dataset no longer has the SHA-256 it was received with")


class Judging:
    """Judges instances, one at a time."""

    def __init__(self, config: Config, spool: Spool, transcoder: Transcoder) -> None:
        self._config = config
        self._spool = spool
        self._transcoder = transcoder

    def judge(self, work: Work, spread: Spread | None = None) -> Judgement:
        """Decide for every destination and make what is needed.

        Raises Damaged; OSError, SpoolFull or SpoolFailed where a rendition can't be written or kept.
        """
        assert isinstance(work.job, Judge)  # noqa: S101  # a crew gets jobs of one kind
        instance, only = work.job.instance, work.job.only
        source = self._spool.materialise(instance)
        verify(source, instance)
        with read_header(source) as header:
            facts = Facts(header, instance.envelope, instance.size_bytes)
            known = known_of(work.job.acceptances, self._config.groups)
            verdict = decide(self._config.rules, self._config.routes, facts, known)
            summary = header.summary()
        decisions, outcomes = settle(
            [decision for decision in verdict.decisions if not only or decision.destination in only],
            instance.envelope.transfer_syntax,
            known,
            lambda target: self._make(instance, source, target, work.deaths, spread),
            holds,
        )
        held = "" if only else verdict.held  # its other deliveries are none of this decision's business
        return Judgement(instance, decisions, outcomes, held, summary, self._config.digest, only)

    def _make(
        self, instance: Instance, source: Path, target: Target, deaths: str, spread: Spread | None
    ) -> Outcome:
        if target.transfer_syntax is None:
            return _as_received(instance, target, Reason.ASKED)
        if deaths:
            return _as_received(instance, target, Reason.WORKER_DIED, deaths)
        draft = self._spool.draft_rendition(instance, target)
        try:
            outcome = self._transcoder.transcode(source, target, draft.path, spread)
            if outcome.transcoded:
                draft.commit()
        except OSError as error:
            if error.errno not in LIMITS:
                raise
            return _as_received(instance, target, Reason.TOO_LARGE, LIMITS[error.errno])
        finally:
            draft.discard()
        return outcome


def _as_received(instance: Instance, target: Target, reason: Reason, detail: str = "") -> Outcome:
    """The outcome that lets the original stand for a target."""
    return Outcome(
        target=target,
        transfer_syntax=instance.envelope.transfer_syntax,
        size_bytes=instance.size_bytes,
        sha256=instance.sha256,
        reason=reason,
        detail=detail,
    )
