"""One run over a tree: finds files, has a crew make of each what it should become, and keeps what came of it.

The main thread looks at how each file begins and hands images to the crew; the crew's threads bring back what was made;
the committer makes it lasting and gives it its name; the walker walks ahead. What an earlier run has done, and is there
still, is not done again. Nothing in the source is opened for writing.
"""

import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from venturi.compress.ahead import ahead
from venturi.compress.commit import FULL, STOPPERS, Committer, Made
from venturi.compress.journal import Journal, Record
from venturi.compress.place import Output, Taken
from venturi.compress.port import OTHER_FILES, Left, Order
from venturi.compress.report import Tally
from venturi.compress.walk import Found, look, said
from venturi.errors import ConfigError, Permanent, SpoolFull
from venturi.model import Proof
from venturi.transcode.port import Answer, Compress, Compressed, Crew, Job

Hire = Callable[[Callable[[Job, Answer | Exception], None]], Crew]


class TreeRun:
    """A ``port.Run``."""

    def __init__(self, order: Order, hire: Hire, *, endings: bool) -> None:
        """``hire`` makes the crew, given its ``finish``; ``endings``: see ``Report.endings``.

        Raises ConfigError where source and output can't be used together.
        """
        try:
            check_apart(order.source, order.output)
        except OSError as error:
            raise ConfigError([f"{error.filename}: {said(error)}"]) from error
        self._order = order
        self._hire = hire
        root = order.source if order.source.is_dir() else order.source.parent
        self._root = os.path.join(root, "")
        self._stopping = False  # no Event, whose lock a signal handler may find taken
        self._in_hand: dict[str, Record] = {}
        """By the job's name."""
        self._number = 0
        self.report = Tally(endings=endings)

    def stop(self) -> None:
        """See the port."""
        self.report.interrupted = True
        self._stopping = True

    def run(self) -> None:
        """See the port."""
        try:
            self._output = Output(self._order.output)
            journal = Journal(self._output.own, self._order)
        except Taken as error:
            raise ConfigError([f"OUT: {error}"]) from error
        except OSError as error:
            raise Permanent(f"{self._order.output} can't be written: {said(error)}") from error
        try:
            self._name_what_was_noted(journal)
            self._committer = Committer(self._output, journal, self.report, self._give_up)
            try:
                self._work(journal)
            finally:
                if self._committer.close():
                    self._output.close()
        finally:
            journal.close()
        self.report.finish()

    def _name_what_was_noted(self, journal: Journal) -> None:
        """Finish what a run has noted as done that was killed, or lost power, before all had their names."""
        try:
            for record in journal.records_of(self._output.unfinished()):
                with suppress(Taken):  # somebody was faster; it will be found to be another file
                    self._output.place(self._output.left_by(record.part), record.path, replace=record.replace)
            self._output.sweep()
        except Taken as error:
            raise ConfigError([f"OUT: {error}"]) from error
        except OSError as error:
            raise Permanent(f"{self._order.output} can't be written: {said(error)}") from error

    def _work(self, journal: Journal) -> None:
        try:
            crew = self._hire(self._finish)
            try:
                for found in ahead(self._order.source, self.report, lambda: self._stopping):
                    self._take(found, journal, crew)
                while self._in_hand and not self._stopping:
                    crew.room()  # raises where the crew can't go on
                    time.sleep(0.005)  # until the last are done, or a signal says to stop
            finally:
                if self._stopping:
                    crew.take_back()
                crew.close()
        except RuntimeError as error:
            self._give_up(f"the workers can't go on: {error}")

    def _give_up(self, why: str) -> None:
        self.report.stopped = self.report.stopped or why
        self._stopping = True

    # --- each file ---------------------------------------------------------------------------------------------------

    def _take(self, found: Found, journal: Journal, crew: Crew) -> None:
        if found.left is not None:
            self.report.left(found.path, found.left, found.detail, found.size_bytes)
            return
        written = journal.find(found.path)
        try:
            there = self._output.size_of(found.path)
        except OSError as error:
            self.report.left(found.path, Left.FAILED, said(error), found.size_bytes)
            return
        ours = written is not None and written.output_bytes == there
        if written and ours and (written.size_bytes, written.mtime_ns) == (found.size_bytes, found.mtime_ns):
            self.report.done(written, before=True)
            return
        try:
            beginning = look(self._root + found.path)
        except OSError as error:
            self.report.left(found.path, Left.UNREADABLE, said(error), found.size_bytes)
            return
        copied = beginning.left in OTHER_FILES
        if beginning.left is not None and not (copied and self._order.copy_other):
            self.report.left(found.path, beginning.left, beginning.detail, found.size_bytes)
            return
        if there is not None and not ours and not self._order.overwrite:
            words = "it is not as an earlier run left it" if written else "a file that is not ours is there"
            self.report.left(found.path, Left.CONFLICT, words, found.size_bytes)
            return
        self._number += 1
        part = self._output.part(self._number)
        record = Record(
            found.path,
            found.size_bytes,
            found.mtime_ns,
            output_bytes=-1,
            came_as=beginning.transfer_syntax,
            part=os.path.basename(part),
            replace=there is not None,
        )
        if copied:
            record = replace(record, reason=str(beginning.left), detail=beginning.detail)
            self._copy(record, part)
            return
        job = Compress(
            f"file-{self._number}",
            self._root + found.path,
            part,
            found.size_bytes,
            self._order.target,
            self._order.destination,
        )
        self._in_hand[job.name] = record
        crew.put(job)

    def _copy(self, record: Record, part: str) -> None:
        try:
            shutil.copyfile(self._root + record.path, part)
            record = replace(record, output_bytes=self._output.finished(part, self._root + record.path))
        except OSError as error:
            self._failed(record, part, error)
        else:
            self._committer.put(Made(record, part))

    def _finish(self, job: Job, answer: Answer | Exception) -> None:
        """Take what a crew's thread brings back."""
        assert isinstance(job, Compress)  # noqa: S101  # no others were given to it
        record = self._in_hand.pop(job.name)
        part = job.output
        if not isinstance(answer, Compressed):
            self._failed(record, part, answer if isinstance(answer, Exception) else TypeError(answer))
            return
        outcome = answer.outcome
        if outcome.hold:
            detail = ": ".join(filter(None, (str(outcome.reason or ""), outcome.detail)))
            self.report.left(record.path, Left.HELD, detail, record.size_bytes)
            return
        try:
            size_bytes = self._output.finished(part, self._root + record.path)
        except OSError as error:
            self._failed(record, part, error)
            return
        record = replace(
            record,
            output_bytes=size_bytes,
            became=outcome.transfer_syntax or record.came_as,
            reason=str(outcome.reason or ""),
            detail=outcome.detail,
            proof="" if outcome.proof is Proof.ORIGINAL else str(outcome.proof),
            codec=outcome.codec,
            rule=answer.rule,
        )
        self._committer.put(Made(record, part))

    def _failed(self, record: Record, part: str, error: Exception) -> None:
        with suppress(OSError):  # it is swept at the end
            os.unlink(part)
        number = error.errno if isinstance(error, OSError) else None
        if isinstance(error, SpoolFull) or number in STOPPERS:
            full = number in FULL or isinstance(error, SpoolFull)
            self._give_up("no space is left for the output" if full else "the output can't be written")
            return
        detail = said(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        self.report.left(record.path, Left.FAILED, detail, record.size_bytes)


def check_apart(source: Path, output: Path) -> None:
    """Refuse a source that is not there, and an output in it or around it, links resolved.

    Raises ConfigError, OSError.
    """
    if not source.exists():
        raise ConfigError([f"IN: there is no {source}"])
    if output.exists() and not output.is_dir():
        raise ConfigError([f"OUT: {output} is not a folder; OUT is the folder to write into"])
    if not source.is_dir():
        if output.is_dir() and any(
            folder.samefile(output) for folder in (source.parent, source.resolve().parent)
        ):
            raise ConfigError([f"OUT: {output} is where IN itself is; choose another folder"])
        return
    if output.exists() and output.samefile(source):
        raise ConfigError(["OUT: it is IN itself, and IN is never written to; choose another folder"])
    if _below(output.resolve(), source):
        raise ConfigError([f"OUT: {output} is inside IN, {source}, which is never written to"])
    if output.exists() and _below(source.resolve(), output):
        raise ConfigError([f"IN: {source} is inside OUT, {output}; choose an OUT of its own"])


def _below(path: Path, folder: Path) -> bool:
    """Whether a folder around a path is that one, by whatever name."""
    return any(parent.exists() and parent.samefile(folder) for parent in path.parents)
