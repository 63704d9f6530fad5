"""The supervisor outlives what fails around it: with it, the whole node would end. Real processes die here."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from integration.nodes import config_text
from venturi import node, supervisor
from venturi.config.load import load
from venturi.config.schema import Config
from venturi.errors import Temporary
from venturi.ledger.sql import SqlLedger
from venturi.supervisor import RoleSpec, Supervisor


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "venturi.yaml").write_text(config_text())
    return load(tmp_path / "venturi.yaml")


@pytest.fixture
def mortal(config: Config) -> Iterator[Supervisor]:
    """A supervisor over one role that is none of ours and so dies at once."""
    made = Supervisor(
        specs=lambda _: [RoleSpec("nobody")], load=lambda: config, released=lambda *_: None, listener=None
    )
    yield made
    for place in made.places:
        if place.child is not None:
            place.child.kill()


def tend_until(watched: Supervisor, holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < until, "it did not come to pass in time"
        watched._tend()
        time.sleep(0.05)


def test_a_state_that_can_not_be_written_ends_nothing(config: Config, mortal: Supervisor) -> None:
    config.node.data.mkdir()
    (config.node.data / "run").write_text("in the way")
    mortal._occupy(config)
    mortal._record()


def test_a_role_that_can_not_be_started_is_started_later(
    config: Config, mortal: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    class Child(supervisor.Child):
        def __init__(self, *args: object) -> None:
            calls.append(args)
            if len(calls) < 3:
                raise BlockingIOError("Resource temporarily unavailable")
            super().__init__(*args)  # type: ignore[arg-type]  # handed on as they came

    monkeypatch.setattr(supervisor, "Child", Child)
    mortal._occupy(config)
    tend_until(mortal, lambda: mortal.places[0].child is not None)
    assert len(calls) == 3


def test_a_role_that_died_before_a_reload_has_its_leases_freed(config: Config, mortal: Supervisor) -> None:
    freed: list[tuple[str, int]] = []
    mortal.released = lambda name, pid: freed.append((name, pid))
    mortal._occupy(config)
    child = mortal.places[0].child
    assert child is not None
    child.process.wait()
    mortal._retire()
    mortal._leave(time.monotonic())
    assert freed == [("nobody", child.pid)]


def test_a_sigterm_in_the_moment_of_a_reload_is_not_forgotten(
    config: Config, mortal: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Arriving(list[int]):
        def __contains__(self, number: object) -> bool:
            found = super().__contains__(number)
            if found and number == signal.SIGHUP:
                self.append(signal.SIGTERM)
            return found

    class ForgottenError(Exception):
        pass

    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) > 100:
            raise ForgottenError

    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the handlers are for a process of its own
    monkeypatch.setattr(supervisor.time, "sleep", lambda s: (sleep(s), threading.Event().wait(s)))
    mortal._signals = Arriving([signal.SIGHUP])
    assert mortal.run(config) == 0


def test_leases_that_can_not_be_freed_now_run_out_by_themselves(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.prepare(config)
    ledger = node.ledger_of(config, migrate=True)
    tried = threading.Event()

    def locked(_: SqlLedger, owner: str) -> int:
        tried.set()
        raise Temporary(f"the ledger can't be used now: database is locked ({owner})")

    monkeypatch.setattr(SqlLedger, "release", locked)
    node.release(ledger, "here/transcode/1/")
    assert tried.is_set()
    ledger.close()
