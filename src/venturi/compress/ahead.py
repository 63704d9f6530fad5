"""Walks ahead of the work, so that totals are known early: up to so many files, that memory stays bounded."""

import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from venturi.compress.port import Left
from venturi.compress.report import Tally
from venturi.compress.walk import Found, said, walk

Batches = queue.Queue[list[Found] | Exception]
"""Empty at the end."""
BATCH = 256
MOST_BATCHES = 400
"""Beyond these 100,000 files, it goes on as they are done."""


def ahead(source: Path, tally: Tally, stopped: Callable[[], bool]) -> Iterator[Found]:
    """Yield what ``walk`` finds, until ``stopped``; and count it in ``tally`` before."""
    batches: Batches = queue.Queue(MOST_BATCHES)
    threading.Thread(target=_find, args=(source, tally, stopped, batches), name="walker", daemon=True).start()
    while not stopped():
        try:
            batch = batches.get(timeout=0.2)
        except queue.Empty:
            continue
        if not batch:
            return
        if isinstance(batch, Exception):
            raise batch
        for found in batch:
            if stopped():
                return
            yield found


def _find(source: Path, tally: Tally, stopped: Callable[[], bool], batches: Batches) -> None:
    batch: list[Found] = []

    def hand_over(handed: list[Found] | Exception) -> None:
        while not stopped():
            try:
                batches.put(handed, timeout=1.0)
            except queue.Full:
                continue
            return

    try:
        for found in walk(source):
            tally.found_files += 1
            tally.found_bytes += found.size_bytes
            batch.append(found)
            if len(batch) == BATCH or tally.found_files < BATCH:  # the first ones at once
                hand_over(batch)
                batch = []
            if stopped():
                return
    except OSError as error:
        batch.append(Found(source.name, left=Left.UNREADABLE, detail=said(error)))
        tally.found_files += 1
    except Exception as error:  # a mistake of ours: whoever waits must hear of it
        hand_over(error)
        return
    tally.found_all = True
    if batch:
        hand_over(batch)
    hand_over([])
