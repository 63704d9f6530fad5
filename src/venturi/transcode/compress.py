"""The job of ``venturi compress``: of one file another one, in any case: a rendition, or the same bytes again."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from venturi.dataset import part10
from venturi.dataset.facts import read_header
from venturi.errors import Malformed
from venturi.ledger.port import holds
from venturi.model import AS_RECEIVED, Decision, Envelope, Outcome, Reason, Target
from venturi.transcode.messages import Work
from venturi.transcode.port import Compress, Compressed, Transcoder
from venturi.transcode.sandbox import LIMITS
from venturi.transcode.shares import Spread

if TYPE_CHECKING:
    from venturi.config.schema import Config


class Compressing:
    """Compresses files, one at a time. ``config`` is asked for those that come without a target."""

    def __init__(self, config: "Config | None", transcoder: Transcoder) -> None:
        self._config = config
        self._transcoder = transcoder

    def compress(self, work: Work, spread: Spread | None = None) -> Compressed:
        """Make the output, unless it is to be held. Raises OSError."""
        job = work.job
        assert isinstance(job, Compress)  # noqa: S101  # a crew gets jobs of one kind
        source, output = Path(job.source), Path(job.output)
        try:
            decision = Decision(job.destination, "", job.target or AS_RECEIVED)
            if work.deaths:  # nothing is read of it: it is copied as it is
                reason, words = Reason.WORKER_DIED, work.deaths
                outcome = Outcome(decision.target, "", job.size_bytes, "", reason, words)
            else:
                if job.target is None:
                    decision = self._decide(job, source)
                outcome = self._make(job, source, decision.target, output, spread)
            if holds(decision, outcome):
                outcome = replace(outcome, hold=True)
            elif not outcome.transcoded:
                shutil.copyfile(source, output)
        except BaseException:
            output.unlink(missing_ok=True)
            raise
        return Compressed(job.name, outcome, decision.rule)

    def _make(
        self, job: Compress, source: Path, target: Target, output: Path, spread: Spread | None
    ) -> Outcome:
        if target.transfer_syntax is None:
            return Outcome(target, "", job.size_bytes, "", Reason.ASKED)
        try:
            return self._transcoder.transcode(source, target, output, spread)
        except OSError as error:
            if error.errno not in LIMITS:
                raise
            return Outcome(target, "", job.size_bytes, "", Reason.TOO_LARGE, LIMITS[error.errno])

    def _decide(self, job: Compress, source: Path) -> Decision:
        """Ask the rules, as for an object that came from nowhere. As received, if it is no Part 10 file."""
        # With a target they are not needed, nor is what they import: half of a worker's start.
        from venturi.rules.decide import decide_for  # noqa: PLC0415
        from venturi.rules.facts import Facts  # noqa: PLC0415

        assert self._config is not None  # noqa: S101  # whoever gives no target gives a configuration
        try:
            with source.open("rb") as file:
                meta, offset = part10.read(file)
            with read_header(source) as header:
                envelope = Envelope(
                    sop_class_uid=meta.sop_class_uid,
                    sop_instance_uid=meta.sop_instance_uid,
                    transfer_syntax=meta.transfer_syntax,
                    calling_ae="",
                    called_ae="",
                    peer="",
                    address="",
                    received_at=0.0,
                )
                facts = Facts(header, envelope, job.size_bytes - offset, job.destination)
                return decide_for(self._config.rules, facts)
        except Malformed:
            return Decision(job.destination, "", AS_RECEIVED)
