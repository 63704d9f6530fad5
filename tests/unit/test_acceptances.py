"""What a peer accepts is told when it is news, and not for each association."""

from collections.abc import Sequence

from venturi.deliver.acceptances import AGAIN_S, MOST_TOLD, Acceptances
from venturi.errors import Temporary
from venturi.model import Acceptance

CT, MR = ("1.2.2", "1.2.840.10008.1.2"), ("1.2.4", "1.2.840.10008.1.2")


class Listener:
    """Remembers what it is told, and fails when it is to."""

    def __init__(self) -> None:
        self.heard: list[list[Acceptance]] = []
        self.fails = False
        self.now = 1000.0

    def __call__(self, acceptances: Sequence[Acceptance]) -> None:
        if self.fails:
            raise Temporary("locked")
        self.heard.append(list(acceptances))

    def clock(self) -> float:
        return self.now


def made() -> tuple[Listener, Acceptances]:
    listener = Listener()
    return listener, Acceptances("pacs", listener, listener.clock)


def test_what_is_new_is_told_once() -> None:
    listener, acceptances = made()
    for _ in range(3):
        acceptances.hear([CT, MR], [MR])
    told = [Acceptance("pacs", *CT, False, 1000.0), Acceptance("pacs", *MR, True, 1000.0)]
    assert listener.heard == [told]


def test_what_changed_is_told_at_once_and_alone() -> None:
    listener, acceptances = made()
    acceptances.hear([CT, MR], [MR])
    listener.now += 1
    acceptances.hear([CT, MR], [CT, MR])
    assert listener.heard[1:] == [[Acceptance("pacs", *CT, True, 1001.0)]]


def test_what_is_old_is_told_again() -> None:
    listener, acceptances = made()
    acceptances.hear([CT], [])
    listener.now += AGAIN_S
    acceptances.hear([CT], [])
    assert [told[0].at for told in listener.heard] == [1000.0, 1000.0 + AGAIN_S]


def test_what_could_not_be_told_is_told_the_next_time() -> None:
    listener, acceptances = made()
    listener.fails = True
    acceptances.hear([CT], [])
    listener.fails = False
    acceptances.hear([CT], [])
    assert len(listener.heard) == 1


def test_what_is_known_to_be_told_does_not_grow_without_end() -> None:
    listener, acceptances = made()
    for number in range(MOST_TOLD + 2):
        acceptances.hear([(f"1.2.{number}", CT[1])], [])
    acceptances.hear([CT], [])
    told = len(listener.heard)
    acceptances.hear([("1.2.0", CT[1])], [])
    assert len(listener.heard) == told + 1, "it was forgotten, and is told again"
    acceptances.hear([CT], [])
    assert len(listener.heard) == told + 1
