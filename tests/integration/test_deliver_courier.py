"""Couriers: what one destination does is no other's business, and a destination gets no more than it should at once."""

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from integration.delivering import SOON, Node, as_received, peer, until, within
from integration.nodes import Node as RunningNode
from integration.nodes import config_text, running
from integration.peers import free_port, need, run, sample, storescp
from venturi.deliver import courier as courier_module
from venturi.deliver.breaker import Breaker
from venturi.deliver.courier import Courier
from venturi.deliver.dicom import Dicom
from venturi.deliver.pace import Pace
from venturi.deliver.port import Ending, Parcel, Receipt
from venturi.deliver.retry import Backoff
from venturi.errors import Temporary
from venturi.ledger.port import Attempt, Filter, State, Verb


class Counting:
    """A destination that is down until it is told otherwise."""

    def __init__(self) -> None:
        self.up = self.reachable = False
        self.batches: list[int] = []
        self.asked = self.rested = 0

    def deliver(self, parcels: Sequence[Parcel]) -> Iterator[Receipt]:
        self.batches.append(len(parcels))
        for parcel in parcels:
            yield Receipt(parcel.delivery, Ending.DELIVERED if self.up else Ending.LATER, "test")

    def probe(self) -> str:
        assert self.rested, "what it keeps open may be all that the peer takes"
        self.asked += 1
        return "" if self.reachable else "not there"

    def rest(self) -> None:
        self.rested += 1

    def close(self) -> None:
        pass


def deliveries(node: Node, corpus: Path, count: int) -> None:
    for _ in range(count):
        instance = node.receive(sample(corpus, "CT_small.dcm"))
        node.decide(instance, "there", as_received(instance))


def test_a_destination_that_is_down_is_asked_and_then_tried_with_one_object(node: Node, corpus: Path) -> None:
    deliveries(node, corpus, 40)
    where = Counting()
    couriers = [
        Courier("there", where, node.ledger, node.spool, f"test/{number}", SOON, breaker)
        for breaker in [Breaker("there", SOON)]
        for number in range(2)
    ]
    for courier in couriers:
        courier.start()
    try:
        until(lambda: where.asked >= 4)
        first = list(where.batches)
        assert len(first) <= 2, "at most one batch of each courier before it was noticed"
        where.reachable = True
        until(lambda: len(where.batches) >= len(first) + 2)
        assert set(where.batches[len(first) :]) == {1}
        where.up = True
        until(lambda: node.states() == [State.DELIVERED] * 40)
    finally:
        for courier in couriers:
            courier.stop()
        for courier in couriers:
            courier.join(30)


def test_a_person_who_says_that_it_is_back_ends_its_pause(node: Node, corpus: Path) -> None:
    deliveries(node, corpus, 3)
    where, slowly = Counting(), Backoff(first_s=600.0)
    where.reachable = True
    breaker = Breaker("there", slowly)
    courier = Courier("there", where, node.ledger, node.spool, "test", slowly, breaker)
    courier.start()
    try:
        until(lambda: not breaker.closed)
        assert breaker.wait_s() > 20
        where.up = True
        node.ledger.act(Verb.RETRY, Filter(), "test")
        courier.wake()
        time.sleep(1.0)
        assert where.asked == 0, "a ring may mean anything"
        breaker.hurry()
        until(lambda: node.states() == [State.DELIVERED] * 3, 10)
        assert where.asked == 1
    finally:
        courier.stop()
        courier.join(30)


def test_outside_its_hours_a_destination_gets_nothing(node: Node, corpus: Path) -> None:
    deliveries(node, corpus, 3)
    where = Counting()
    where.up = True
    begun = threading.Event()
    courier = Courier("there", where, node.ledger, node.spool, "test", SOON, hours=begun.is_set)
    courier.start()
    time.sleep(0.5)
    courier.wake()
    time.sleep(0.3)
    assert where.batches == []
    courier.stop()
    courier.join(30)
    begun.set()
    courier = Courier("there", where, node.ledger, node.spool, "test", SOON, hours=begun.is_set)
    courier.start()
    until(lambda: node.states() == [State.DELIVERED] * 3)
    courier.stop()
    courier.join(30)


def test_when_its_hours_end_a_destination_keeps_nothing_and_what_is_left_is_free(
    node: Node, corpus: Path
) -> None:
    deliveries(node, corpus, 3)
    where, closing = Counting(), threading.Event()
    where.up = True

    def hours() -> bool:
        return not (where.batches and closing.is_set())

    closing.set()
    courier = Courier("there", where, node.ledger, node.spool, "test", SOON, hours=hours)
    courier.start()
    until(lambda: where.rested > 0)
    until(lambda: node.ledger.owners() == [])
    assert sorted(node.states()) == sorted([State.DELIVERED, State.PENDING, State.PENDING])
    courier.stop()
    courier.join(30)


def test_what_a_person_holds_of_what_a_slow_destination_waits_for_is_not_sent(
    node: Node, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixteen are claimed at once: at one a minute the last of them would go a quarter of an hour later."""
    monkeypatch.setattr(courier_module, "HAND_S", 0.5)
    deliveries(node, corpus, 4)
    may, sent = threading.Semaphore(0), list[int]()

    class Slow(Counting):
        def deliver(self, parcels: Sequence[Parcel]) -> Iterator[Receipt]:
            for parcel in parcels:
                may.acquire(timeout=30)
                sent.append(parcel.delivery)
                yield Receipt(parcel.delivery, Ending.DELIVERED, "test")

    courier = Courier("there", Slow(), node.ledger, node.spool, "test", SOON)
    courier.start()
    time.sleep(1)
    may.release()
    until(lambda: node.states().count(State.DELIVERED) == 1)
    assert node.ledger.act(Verb.HOLD, Filter(destination="there"), "anna") == 3
    time.sleep(1)
    for _ in range(9):
        may.release()
    until(lambda: node.ledger.owners() == [])
    courier.stop()
    courier.join(30)
    assert len(sent) <= 2, "one was on its way"
    assert node.states().count(State.HELD) == 4 - len(sent)


def test_after_a_ledger_that_failed_its_leases_are_free(
    node: Node, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliveries(node, corpus, 2)
    where, record = Counting(), node.ledger.record
    where.up = True
    failures = iter([Temporary("database is locked")])

    def failing(attempts: Sequence[Attempt], owner: str) -> None:
        for error in failures:
            raise error
        record(attempts, owner)

    monkeypatch.setattr(node.ledger, "record", failing)
    courier = Courier("there", where, node.ledger, node.spool, "test", SOON)
    courier.start()
    until(lambda: node.states() == [State.DELIVERED] * 2)
    courier.stop()
    courier.join(30)


def test_a_slow_link_is_sent_no_more_than_its_rate(tmp_path: Path, node: Node, corpus: Path) -> None:
    parcels = [node.parcel(node.receive(sample(corpus, "CT_small.dcm")), delivery=at) for at in range(4)]
    size = parcels[0].outcome.size_bytes
    with storescp(tmp_path / "peer", "+B") as port:
        for pace, least_s in ((Pace(bytes_per_s=size * 10), 0.3), (Pace(objects_per_s=10), 0.3)):
            began = time.monotonic()
            receipts = list(Dicom(peer(port), "VENTURI", within(10), pace).deliver(parcels))
            assert time.monotonic() - began >= least_s
            assert [one.ending for one in receipts] == [Ending.DELIVERED] * 4


def counts(node: RunningNode) -> set[tuple[str, str, int]]:
    return {(one["destination"], one["state"], one["count"]) for one in node.status()["deliveries"]}


def test_batches_share_an_association_until_there_is_nothing_to_send(
    tmp_path: Path, node: Node, corpus: Path
) -> None:
    parcels = [node.parcel(node.receive(sample(corpus, "CT_small.dcm")), delivery=at) for at in range(4)]
    other = node.parcel(node.receive(sample(corpus, "MR_small.dcm")), delivery=9)
    log = tmp_path / "log"
    with storescp(tmp_path / "peer", "+B", "-uf", "-v", log=log) as port:
        where = Dicom(peer(port), "VENTURI", within(10))

        def associations() -> int:
            return log.read_text().count("Association Acknowledged")

        before = associations()
        for parcel in parcels[:3]:
            (receipt,) = where.deliver([parcel])
            assert receipt.ending is Ending.DELIVERED
        until(lambda: associations() == before + 1)  # its log follows a little later
        (receipt,) = where.deliver([other])  # another SOP class needs contexts of its own
        assert receipt.ending is Ending.DELIVERED
        until(lambda: associations() == before + 2)
        where.rest()
        until(lambda: log.read_text().count("Association Release") == 2)
        (receipt,) = where.deliver([parcels[3]])
        assert receipt.ending is Ending.DELIVERED
        where.close()
    assert len(list((tmp_path / "peer").iterdir())) == 2, "one name for the four of one instance"


def test_an_association_that_the_peer_has_ended_meanwhile_costs_no_try(
    tmp_path: Path, node: Node, corpus: Path
) -> None:
    parcels = [node.parcel(node.receive(sample(corpus, "CT_small.dcm")), delivery=at) for at in range(2)]
    port = free_port()
    where = Dicom(peer(port), "VENTURI", within(10))
    for parcel in parcels:
        with storescp(tmp_path / "peer", "+B", "-uf", port=port):
            (receipt,) = where.deliver([parcel])
            assert receipt.ending is Ending.DELIVERED
    where.close()


@pytest.fixture
def black_hole() -> Iterator[str]:
    """An address behind which a firewall drops everything, in a network namespace."""
    ip, nft = need("ip"), need("nft")
    name, here, there = "venturi-hole", "10.213.7.1", "10.213.7.2"

    def do(*words: str) -> None:
        subprocess.run(words, check=True, capture_output=True)

    def undo() -> None:
        subprocess.run([ip, "netns", "del", name], check=False, capture_output=True)
        subprocess.run([ip, "link", "del", "venturi-h0"], check=False, capture_output=True)

    undo()
    try:
        do(ip, "netns", "add", name)
        do(ip, "link", "add", "venturi-h0", "type", "veth", "peer", "name", "venturi-h1", "netns", name)
        do(ip, "addr", "add", f"{here}/24", "dev", "venturi-h0")
        do(ip, "link", "set", "venturi-h0", "up")
        do(ip, "netns", "exec", name, ip, "addr", "add", f"{there}/24", "dev", "venturi-h1")
        do(ip, "netns", "exec", name, ip, "link", "set", "venturi-h1", "up")
        do(ip, "netns", "exec", name, nft, "add table inet hole")
        do(
            *(ip, "netns", "exec", name, nft),
            "add chain inet hole input { type filter hook input priority 0; policy drop; }",
        )
        yield there
    except subprocess.CalledProcessError as error:
        pytest.fail(f"no network namespace: {error.stderr!r}")
    finally:
        undo()


def test_a_black_hole_keeps_neither_intake_nor_its_neighbour(
    tmp_path: Path, corpus: Path, black_hole: str
) -> None:
    source = tmp_path / "sent"
    source.mkdir()
    for number in range(20):
        shutil.copy(sample(corpus, "CT_small.dcm"), source / f"{number}.dcm")
    with storescp(tmp_path / "peer", "+B", "-uf") as port:
        text = config_text(
            peers=f"""\
  hole: {{ae_title: HOLE, host: {black_hole}, port: 104}}
  good: {{ae_title: ANY-SCP, host: 127.0.0.1, port: {port}}}""",
            destinations="  hole: {dicom: hole, associations: 2}\n  good: {dicom: good, associations: 2}",
            to=", hole, good",
        ).replace("  data: ./data", "  data: ./data\n  limits: {timeout: 5s}")
        (tmp_path / "node").mkdir()
        with running(tmp_path / "node", text) as node:
            for _ in range(2):
                sent = run("storescu", "-aec", "VENTURI", "+sd", "127.0.0.1", str(node.port), source)
                assert sent.returncode == 0, sent.stderr
            done = {("archive", "delivered", 40), ("good", "delivered", 40), ("hole", "pending", 40)}
            until(lambda: counts(node) == done, 60)
            until(lambda: "hole takes nothing" in node.command("status").stdout, 60)
            (trouble,) = json.loads(node.command("status", "--json").stdout)["troubles"]
            assert trouble["destination"] == "hole"
            assert trouble["why"].startswith("unreachable")
            began = time.monotonic()
            assert node.stop() == 0
            assert time.monotonic() - began < 15, "nobody waits for an answer that will not come"
