"""One large object over several workers: the same bytes as from one, whatever becomes of the others. Real processes."""

import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from integration.spread_worker import Danger, Spreader, notes
from renditions import ct, read, saved
from venturi.dataset import syntaxes
from venturi.model import Reason, Target
from venturi.transcode.crew import Crew
from venturi.transcode.engine import Engine
from venturi.transcode.port import Answer, Compress, Compressed, Job
from venturi.transcode.sandbox import Limits

MIB = 1 << 20
TARGET = Target(syntaxes.JPEG_LS_LOSSLESS)
LIMITS = Limits(wall_s=60.0, cpu_s=60.0, memory_bytes=1024 * MIB, file_bytes=64 * MIB)


def clip(frames: int) -> Dataset:
    """So many frames of a real CT slice, no two alike."""
    dataset = read("CT_small.dcm")
    slices = [np.roll(ct(signed=True), number, axis=1) for number in range(frames)]
    dataset.NumberOfFrames = frames
    dataset.PixelData = b"".join(each.tobytes() for each in slices)
    return dataset


class Room:
    """A crew over files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.large = saved(folder, clip(frames=60))
        self.expected = folder / "expected"
        self.outcome = Engine().transcode(self.large, TARGET, self.expected)
        assert self.outcome.transcoded
        (folder / "out").mkdir()
        self.answers: dict[str, Answer | Exception] = {}

    def run(self, danger: Danger, *, workers: int = 3, jobs: int = 1, limits: Limits = LIMITS) -> None:
        """Have the large object made so many times."""

        def finish(job: Job, answer: Answer | Exception) -> None:
            self.answers[job.name] = answer

        start: Callable[[], Spreader] = lambda: Spreader(self.folder, danger)  # noqa: E731  # for one line
        crew = Crew(start, workers, finish, limits_for=lambda _: limits)
        for number in range(jobs):
            crew.put(self.job(str(number)))
        crew.close()
        assert sorted(self.answers) == [str(number) for number in range(jobs)]

    def job(self, name: str) -> Compress:
        """Make it under that name."""
        output = self.folder / "out" / f"{name}.part"
        return Compress(name, str(self.large), str(output), self.large.stat().st_size, TARGET)

    def require_made(self, *names: str) -> None:
        """These outputs are what one process makes of it alone, and nothing else is there."""
        for name in names:
            answer = self.answers[name]
            assert isinstance(answer, Compressed)
            assert answer.outcome == self.outcome
            assert digest(self.folder / "out" / f"{name}.part") == digest(self.expected)
        assert sorted(path.name for path in (self.folder / "out").iterdir()) == sorted(
            f"{name}.part" for name in names
        )

    def count(self, what: str) -> int:
        """How often that was noted."""
        return Counter(said for said, _, _ in notes(self.folder))[what]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def test_workers_that_have_nothing_to_do_help_and_the_bytes_are_those_of_one(room: Room) -> None:
    room.run(Danger.NONE_BUT_IT_WAITS, workers=3)
    room.require_made("0")
    assert room.count("leads") == 1
    assert room.count("helps") > 0
    assert room.count("does") > 0


def test_several_large_objects_at_once_are_each_made_whole(room: Room) -> None:
    room.run(Danger.NONE, workers=3, jobs=5)
    room.require_made(*"01234")


def test_one_worker_alone_does_all_shares_itself(room: Room) -> None:
    room.run(Danger.NONE, workers=1)
    room.require_made("0")
    assert room.count("helps") == 0
    assert room.count("does") > 0


@pytest.mark.parametrize(
    "danger",
    [
        Danger.HELPER_IS_KILLED,
        Danger.HELPER_IS_KILLED_PROVING,
        Danger.HELPER_LIES,
        Danger.LEAD_IS_KILLED,
        Danger.LEAD_LIES,
        Danger.LEAD_ASKS_AND_ASKS,
        Danger.LEAD_SAYS_WHAT_IT_MAY_NOT,
    ],
)
def test_an_object_that_ends_a_worker_in_a_share_is_made_by_one_alone_on_the_second_try(
    room: Room, danger: Danger
) -> None:
    room.run(danger)
    room.require_made("0")
    assert (room.count("leads"), room.count("is alone")) == (1, 1)


@pytest.mark.parametrize("danger", [Danger.HELPER_HANGS, Danger.LEAD_HANGS])
def test_an_object_that_hangs_a_worker_in_a_share_is_made_by_one_alone_on_the_second_try(
    room: Room, danger: Danger
) -> None:
    room.run(danger, limits=Limits(wall_s=4.0, cpu_s=60.0, memory_bytes=1024 * MIB, file_bytes=64 * MIB))
    room.require_made("0")
    assert (room.count("leads"), room.count("is alone")) == (1, 1)


def test_neighbours_of_an_object_that_ends_its_helpers_are_unharmed(room: Room) -> None:
    room.run(Danger.HELPER_IS_KILLED, workers=4, jobs=3)
    room.require_made(*"012")


def test_a_full_disk_under_a_helper_is_nobodys_death_and_leaves_no_parts(room: Room) -> None:
    room.run(Danger.DISK_IS_FULL)
    assert isinstance(room.answers["0"], OSError)
    assert list((room.folder / "out").iterdir()) == []
    assert room.count("is alone") == 0


def test_jobs_that_are_taken_back_are_not_begun_and_those_in_hand_are_finished(room: Room) -> None:
    crew = Crew(
        lambda: Spreader(room.folder, Danger.NONE),
        2,
        lambda job, answer: room.answers.update({job.name: answer}),
        limits_for=lambda _: LIMITS,
    )
    jobs = [room.job(str(number)) for number in range(6)]
    for job in jobs:
        crew.put(job)  # blocks while four wait
    back = crew.take_back()
    crew.close()
    assert {job.name for job in back} | set(room.answers) == {job.name for job in jobs}
    assert not {job.name for job in back} & set(room.answers)
    room.require_made(*room.answers)


def test_a_crew_whose_workers_do_not_start_says_so(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("venturi.transcode.bench.STARTS", 2)

    class Broken(Spreader):
        def __init__(self) -> None:
            super().__init__(room.folder, Danger.NONE)
            self.process.kill()

    crew = Crew(Broken, 2, lambda job, answer: None)
    with pytest.raises(RuntimeError):  # noqa: PT012  # whichever hears of it first
        for number in range(10):
            crew.put(room.job(str(number)))
        crew.close()
    with pytest.raises(RuntimeError):
        crew.room()


def test_an_object_that_can_not_be_transcoded_is_copied_as_it_is(room: Room) -> None:
    job = room.job("0")
    Path(room.folder / "text.dcm").write_bytes(b"no image" * 100)
    answers: list[Answer | Exception] = []
    crew = Crew(lambda: Spreader(room.folder, Danger.NONE), 1, lambda _, answer: answers.append(answer))
    crew.put(Compress("1", str(room.folder / "text.dcm"), job.output, 800, TARGET))
    crew.close()
    (answer,) = answers
    assert isinstance(answer, Compressed)
    assert answer.outcome.reason is Reason.MALFORMED
    assert Path(job.output).read_bytes() == b"no image" * 100
