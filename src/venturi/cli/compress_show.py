"""How ``venturi compress`` shows a run: a bar while it goes on, and tables at its end."""

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from venturi.cli.tables import aside, console, printable, saving, short, size, span, table
from venturi.compress.port import FAULTS, TROUBLES, Left, Order, Progress, Report, Sum
from venturi.model import Proof

_PROOFS = {Proof.PIXELS: "every pixel", Proof.BOUND: "every error", Proof.NONE: "NONE"}
"""In so few words as a table has room for."""
REFRESHES_PER_S = 2
LINE_EVERY_S = 10.0
"""Where there is no terminal."""


@contextlib.contextmanager
def following(report: Report, *, shown: bool) -> Iterator[None]:
    """Show on standard error how far it is, while the block runs. Nobody is told of single files: figures are read."""
    if not shown:
        yield
    elif aside.is_terminal:
        pace = Pace(report)
        with Live(console=aside, get_renderable=pace.bar, refresh_per_second=REFRESHES_PER_S, transient=True):
            yield
    else:
        done = threading.Event()

        def tell() -> None:
            pace = Pace(report)
            while not done.wait(LINE_EVERY_S):
                aside.print(Text(pace.words()), soft_wrap=True)

        teller = threading.Thread(target=tell, name="teller", daemon=True)
        teller.start()
        try:
            yield
        finally:
            done.set()
            teller.join()


class Pace:
    """How fast it goes, and how long it will take."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._began = time.monotonic()

    def bar(self) -> RenderableType:
        """A bar by bytes, and the same in words."""
        progress = self._progress
        bar = ProgressBar(
            total=max(progress.found_bytes, 1) if progress.found_all else None,
            completed=progress.bytes,
            pulse=not progress.found_all,
        )
        grid = Table.grid(expand=True)
        grid.add_row(bar)
        grid.add_row(Text(self.words(), overflow="ellipsis", no_wrap=True))
        return grid

    def words(self) -> str:
        """One line."""
        progress = self._progress
        elapsed = max(time.monotonic() - self._began, 0.001)
        rate = progress.fresh_bytes / elapsed
        plus = "" if progress.found_all else "+"
        parts = [
            f"{progress.files}/{progress.found_files}{plus} files",
            f"{size(progress.bytes)}/{size(progress.found_bytes)}{plus}",
        ]
        if progress.written_before:
            parts.append(f"saving {saving(progress.written_before, progress.written_after)}")
        if rate:
            parts.append(f"{size(rate)}/s")
        if rate and progress.found_all:
            parts.append(f"{span((progress.found_bytes - progress.bytes) / rate)} to go")
        return ", ".join(parts)


def show(report: Report, *, brief: bool = False) -> None:
    """Print the report; ``brief``: only what went wrong, on standard error."""
    if brief:
        for shown in (_passed_on(report, faults=True), _left_out(report, troubles=True)):
            if shown:
                aside.print(shown)
        return
    parts = [_transcoded(report), _passed_on(report), _left_out(report), Text(_summary(report))]
    console.print(Group(*[part for part in parts if part]))


def _transcoded(report: Report) -> RenderableType | None:
    made = table("Transcoded", "from", "to", "files>", "before>", "after>", "saving>", "proof")
    for (came_as, became, proof), total in sorted(report.transcoded.items()):
        made.add_row(
            short(came_as),
            short(became),
            str(total.files),
            size(total.before),
            size(total.after),
            saving(total.before, total.after),
            _PROOFS[Proof(proof)],
        )
    return made if report.transcoded else None


def _passed_on(report: Report, *, faults: bool = False) -> RenderableType | None:
    rows = {
        reason: total for reason, total in sorted(report.passed_on.items()) if not faults or reason in FAULTS
    }
    return _reasons("Copied as they are", rows, {str(fault) for fault in FAULTS})


def _left_out(report: Report, *, troubles: bool = False) -> RenderableType | None:
    rows = {
        str(why): total
        for why, total in sorted(report.left_out.items())
        if (not troubles or why in TROUBLES) and why is not Left.JOURNAL
    }
    return _reasons("Left out", rows, {str(trouble) for trouble in TROUBLES})


def _reasons(title: str, rows: Mapping[str, Sum], wrong: set[str]) -> RenderableType | None:
    made = table(title, "because", "files>", "bytes>", "such as")
    for reason, total in rows.items():
        names = "\n".join(map(printable, total.names))
        more = f"\n... and {total.files - len(total.names)} more" if total.files > len(total.names) else ""
        style = "red" if reason in wrong else ""
        made.add_row(Text(reason, style), str(total.files), size(total.before), Text(names + more))
    return made if rows else None


def _summary(report: Report) -> str:
    done = f"{report.files} files, "
    if report.done_before:
        done += f"{report.done_before} of them done before, "
    if report.written_before:
        done += (
            f"{size(report.written_before)} -> {size(report.written_after)} "
            f"({saving(report.written_before, report.written_after)}), "
        )
    rate = f", {size(report.fresh_bytes / report.seconds)}/s" if report.fresh_bytes and report.seconds else ""
    wrong = [why for why in report.left_out if why in TROUBLES] + [
        why for why in report.passed_on if why in FAULTS
    ]
    look = f"\nlook at: {', '.join(sorted(wrong))}" if wrong else ""
    return f"{done}in {span(report.seconds)}{rate}{look}"


def fields(order: Order, report: Report, code: int) -> dict[str, Any]:
    """The same as plain fields."""
    return {
        "source": printable(str(order.source)),
        "output": printable(str(order.output)),
        "asked": order.words,
        "exit_code": code,
        "interrupted": report.interrupted,
        "stopped": report.stopped,
        "files": report.files,
        "files_done_before": report.done_before,
        "files_found": report.found_files,
        "found_all": report.found_all,
        "bytes": report.bytes,
        "bytes_before": report.written_before,
        "bytes_after": report.written_after,
        "seconds": round(report.seconds, 3),
        "transcoded": [
            {
                "from": short(key[0]),
                "to": short(key[1]),
                "from_uid": key[0],
                "to_uid": key[1],
                "proof": key[2],
            }
            | _figures(total)
            for key, total in sorted(report.transcoded.items())
        ],
        "passed_on": [
            {"reason": reason, "fault": reason in FAULTS, **_figures(total)}
            for reason, total in sorted(report.passed_on.items())
        ],
        "left_out": [
            {"reason": why, "trouble": why in TROUBLES, **_figures(total)}
            for why, total in sorted(report.left_out.items())
        ],
    }


def _figures(total: Sum) -> dict[str, int]:
    return {"files": total.files, "bytes_before": total.before, "bytes_after": total.after}
