"""A real node attacked from one host: another host is answered all along, and the attack leaves nothing behind."""

import contextlib
import os
import random
import resource
import select
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from integration.nodes import Node, config_text, running
from integration.peers import need, run, sample
from unit.associations import ECHO, EXPLICIT, command_pdu, request_pdu, store
from venturi.receive.listener import SILENT, UNASSOCIATED_PER_HOST
from venturi.upper_layer import command, pdu

VERIFICATION = "1.2.840.10008.1.1"
TIMEOUT_S = 2
SLACK_KB, KEPT_KB, ASSOCIATION_KB = 32 << 10, 16, 64
"""What a process may have grown by; for each association that did nothing, in the end and at its peak."""
MANY = 1200
PROBERS = 4
NAMESPACE = "venturi-"
"""Begins the names of our network namespaces; the process's id follows."""
RELEASE = pdu.HEADER.pack(pdu.RELEASE_RQ, 4) + bytes(4)
HUGE = 0xFFFFFFFF

Echo = Callable[[int], str]
"""A C-ECHO of the node at a port, from another host; what went wrong."""


@pytest.fixture(scope="module", autouse=True)
def _descriptors() -> Iterator[None]:
    """Enough of them for who attacks."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4 * MANY, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.contextmanager
def host_of_its_own() -> Iterator[tuple[str, str]]:
    """A network namespace, and our address as it is seen from there. Raises CalledProcessError."""
    ip, name, at = need("ip"), f"{NAMESPACE}{os.getpid()}", os.getpid() % (1 << 15) * 4
    ours, theirs = (f"198.{18 + (at >> 16)}.{at >> 8 & 255}.{at & 255 | last}" for last in (1, 2))
    link = f"vt{os.getpid()}"

    def do(*words: str) -> None:
        subprocess.run([ip, *words], check=True, capture_output=True)

    for left in Path("/run/netns").glob(f"{NAMESPACE}*"):
        if not Path("/proc", left.name.removeprefix(NAMESPACE)).exists():  # whose test run was killed
            run(ip, "netns", "del", left.name)  # or another one has done it meanwhile
    do("netns", "add", name)
    try:
        do("link", "add", link, "type", "veth", "peer", "name", "venturi", "netns", name)
        do("address", "add", f"{ours}/30", "dev", link)
        do("link", "set", link, "up")
        do("-n", name, "address", "add", f"{theirs}/30", "dev", "venturi")
        do("-n", name, "link", "set", "venturi", "up")
        yield name, ours
    finally:
        do("netns", "del", name)  # and with it both ends of the link


def echo_of_ours(port: int) -> str:
    """Where there can be no such namespace: from another address of loopback."""
    stream = request_pdu([(VERIFICATION, (EXPLICIT,))]) + command_pdu(ECHO, 1) + RELEASE
    heard = b""
    try:
        with socket.create_connection(("127.0.0.1", port), 1, ("127.0.0.2", 0)) as peer:
            peer.sendall(stream)
            while not heard.endswith(pdu.RELEASED) and (more := peer.recv(4096)):
                heard += more
    except OSError as error:
        return repr(error)
    return "" if command.p_data_tf(1, command.echo_response(7)) in heard else f"heard {heard.hex()}"


@pytest.fixture(scope="module")
def echo() -> Iterator[Echo]:
    """DCMTK's echoscu on another host; each step must be answered within a second."""
    echoscu, stack = need("echoscu"), contextlib.ExitStack()
    try:
        name, ours = stack.enter_context(host_of_its_own()) if os.geteuid() == 0 else ("", "")
    except subprocess.CalledProcessError:  # root, but of a container that may not
        name = ""
    timeouts = ("-to", "1", "-ta", "1", "-td", "1")

    def ask(port: int) -> str:
        words = ("netns", "exec", name, echoscu, "-v", *timeouts, "-aec", "VENTURI", ours, str(port))
        said = run("ip", *words)
        return "" if said.returncode == 0 else said.stderr + said.stdout

    with stack:
        yield ask if name else echo_of_ours


def text(timeout_s: int, associations: int, receivers: int) -> str:
    """The configuration."""
    limits = f"  limits: {{timeout: {timeout_s}s, associations: {associations}, min_free: 1%}}\n"
    return (
        config_text()
        .replace("listen: 127.0.0.1:0", "listen: 0.0.0.0:0")
        .replace("hosts: [127.0.0.1]", "hosts: [127.0.0.0/8, 198.18.0.0/15]")
        .replace("receivers: 2\n", f"receivers: {receivers}\n{limits}")
    )


@contextlib.contextmanager
def warm(folder: Path, corpus: Path, configuration: str) -> Iterator[Node]:
    """A node each of whose receivers has stored something: what is opened once is open."""
    with running(folder, configuration) as node:
        receivers = folder / "data" / "spool" / "receivers"

        def all_have_stored() -> bool:
            assert_stores(node, corpus)
            return all(any(one.glob("*/*.dcm")) for one in receivers.iterdir())

        node.until(all_have_stored, 60)
        yield node


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Iterator[Node]:
    with warm(tmp_path_factory.mktemp("node"), corpus, text(TIMEOUT_S, 32, 2)) as started:
        yield started


@pytest.fixture(scope="module")
def roomy(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Iterator[Node]:
    """One receiver that takes many, and began with the descriptors that a shell gives."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    folder = tmp_path_factory.mktemp("roomy")
    with contextlib.ExitStack() as stack:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard), hard))
        try:
            started = stack.enter_context(warm(folder, corpus, text(60, MANY + 50, 1)))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        yield started


def assert_stores(node: Node, corpus: Path) -> None:
    sent = run(
        "storescu", "-v", "-aec", "VENTURI", "127.0.0.1", str(node.port), sample(corpus, "CT_small.dcm")
    )
    assert "Received Store Response (Success)" in sent.stderr + sent.stdout, sent.stderr + sent.stdout


def receivers(node: Node) -> dict[str, int]:
    return {name: pid for name, pid in node.state["roles"].items() if name.startswith("receive")}


def status(pid: int, name: str) -> int:
    """A number of a process: Threads, VmRSS or VmHWM, in kB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def open_ones(node: Node) -> list[tuple[int, int]]:
    """How many descriptors and threads each receiver has."""
    return [(len(descriptors(pid)), status(pid, "Threads")) for pid in receivers(node).values()]


def descriptors(pid: int) -> list[int]:
    return [int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()]


def incoming(node: Node) -> list[Path]:
    return list((node.folder / "data" / "spool" / "receivers").glob("*/incoming/*"))


def resident(node: Node, name: str) -> list[int]:
    return [status(pid, name) for pid in receivers(node).values()]


def processor_s(node: Node) -> float:
    """What its receivers have used."""
    ticks = 0
    for pid in receivers(node).values():
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(words[11]) + int(words[12])
    return ticks / os.sysconf("SC_CLK_TCK")


class Watch(threading.Thread):
    """Asks for echoes, one after another, and looks at how many threads there are."""

    def __init__(self, node: Node, echo: Echo) -> None:
        super().__init__(daemon=True)
        self.answers: list[str] = []
        self.slowest_s = 0.0
        self.threads = 0
        self.over = threading.Event()
        self._node, self._echo = node, echo

    def run(self) -> None:
        port = self._node.port
        while not self.over.is_set():
            began = time.monotonic()
            self.answers.append(self._echo(port))
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            self.threads = max(self.threads, *(threads for _, threads in open_ones(self._node)))
            self.over.wait(0.03)


@contextlib.contextmanager
def nothing_left(node: Node) -> Iterator[None]:
    """Afterwards there are as many threads, descriptors and incoming files as before."""

    def all_of_them() -> tuple[list[tuple[int, int]], list[Path]]:
        return open_ones(node), incoming(node)

    def at_rest() -> bool:
        seen = all_of_them()
        time.sleep(0.1)
        return all_of_them() == seen

    node.until(at_rest, 10)
    before = all_of_them()
    yield
    end = time.monotonic() + 15
    while (now := all_of_them()) != before and time.monotonic() < end:
        time.sleep(0.05)
    assert now == before


@contextlib.contextmanager
def unharmed(node: Node, echo: Echo, corpus: Path, associations: int = 0) -> Iterator[None]:
    """During an attack every echo from another host is answered, and afterwards all is as it was."""
    with nothing_left(node):
        pids, lines = receivers(node), len(node.said())
        then, peak_then = resident(node, "VmRSS"), resident(node, "VmHWM")
        watch = Watch(node, echo)
        watch.start()
        try:
            yield
        finally:
            watch.over.set()
            watch.join(30)
        assert len(watch.answers) > 2
        assert not any(watch.answers), [answer for answer in watch.answers if answer]
        assert watch.slowest_s < 2, "a second, and one for the asking process to start and end"
        assert watch.threads < associations + 100
        assert_stores(node, corpus)
    now, peak = resident(node, "VmRSS"), resident(node, "VmHWM")
    grown = [after - before for after, before in zip(now, then, strict=True)]
    assert max(grown) < SLACK_KB + associations * KEPT_KB
    grown = [after - before for after, before in zip(peak, peak_then, strict=True)]
    assert max(grown) < SLACK_KB + associations * ASSOCIATION_KB
    assert receivers(node) == pids, "one has died"
    errors = [line for line in node.said()[lines:] if line["level"] not in ("info", "warning")]
    assert errors == []


def connected(node: Node) -> socket.socket:
    return socket.create_connection(("127.0.0.1", node.port), 20)


def associated(port: int) -> socket.socket:
    """An established association of nobody but us."""
    peer = socket.create_connection(("127.0.0.1", port), 20)
    peer.sendall(request_pdu())
    assert heard(peer) == pdu.ACCEPT
    return peer


def heard(peer: socket.socket) -> int:
    """The type of the next PDU, or 0 where the connection ends."""
    try:
        head = peer.recv(6, socket.MSG_WAITALL)
        if len(head) < 6:
            return 0
        kind, length = pdu.HEADER.unpack(head)
        peer.recv(length, socket.MSG_WAITALL)
    except ConnectionError:
        return 0
    return int(kind)


def still_open(peers: list[socket.socket]) -> list[socket.socket]:
    """Of those that are told nothing."""
    poller = select.poll()
    for peer in peers:
        poller.register(peer, select.POLLIN)
    ended = {descriptor for descriptor, _ in poller.poll(0)}
    return [peer for peer in peers if peer.fileno() not in ended]


def reset(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def test_a_slow_loris(node: Node, echo: Echo, corpus: Path) -> None:
    with unharmed(node, echo, corpus), contextlib.ExitStack() as stack:
        peers = []
        for _ in range(500):
            peers.append(stack.enter_context(connected(node)))
            peers[-1].sendall(b"\1\0\0")
        last = time.monotonic()
        allowed = UNASSOCIATED_PER_HOST * len(receivers(node))
        node.until(lambda: len(still_open(peers)) <= allowed, 1.5)
        left = still_open(peers)
        dripping = left[::2]
        assert dripping
        for byte in request_pdu()[3:]:
            for peer in dripping:
                with contextlib.suppress(OSError):  # closed already
                    peer.sendall(bytes((byte,)))
            time.sleep(0.2)
            left = still_open(left)
            if not left:
                break
            assert time.monotonic() - last < TIMEOUT_S + 2, f"{len(left)} are open after the deadline"
        assert [heard(peer) for peer in peers] == [0] * len(peers)


@pytest.mark.parametrize("kind", [pdu.REQUEST, pdu.P_DATA_TF], ids=["request", "data"])
def test_a_header_that_announces_4_gib(node: Node, echo: Echo, corpus: Path, kind: int) -> None:
    def one(_: int) -> None:
        with connected(node) if kind == pdu.REQUEST else associated(node.port) as peer:
            peer.sendall(pdu.HEADER.pack(kind, HUGE))
            assert heard(peer) == pdu.ABORT
            told = time.monotonic()
            with contextlib.suppress(ConnectionError):  # the deadline
                for _ in range(8):
                    peer.sendall(bytes(1 << 20))
                while time.monotonic() < told + TIMEOUT_S + 2:
                    time.sleep(0.1)
                    peer.sendall(b"\0")
                pytest.fail("it goes on reading")

    with unharmed(node, echo, corpus), ThreadPoolExecutor(12) as pool:
        list(pool.map(one, range(12)))


def test_half_a_pdu_is_gone_at_the_deadline(node: Node, echo: Echo, corpus: Path) -> None:
    object_ = store(bytes(20_000))
    halves = {
        "request": request_pdu()[:100],
        "header": object_[:3],
        "command": object_[:60],
        "data": object_[:10_000],
        "object": store(bytes(20_000), whole=False),
    }

    def one(name: str) -> tuple[str, int, bool]:
        with connected(node) if name == "request" else associated(node.port) as peer:
            began = time.monotonic()
            peer.sendall(halves[name])
            told = heard(peer)
            return name, told, TIMEOUT_S - 0.2 < time.monotonic() - began < TIMEOUT_S + 2

    with unharmed(node, echo, corpus), ThreadPoolExecutor(25) as pool:
        ended = list(pool.map(one, list(halves) * 5))
    assert set(ended) == {(name, 0 if name == "request" else pdu.ABORT, True) for name in halves}


@pytest.mark.parametrize("how", ["abort", "reset", "close"])
def test_an_end_in_mid_object_leaves_no_file(node: Node, echo: Echo, corpus: Path, how: str) -> None:
    kept = node.folder / "data" / "spool" / "receivers"
    with unharmed(node, echo, corpus):
        whole = len(list(kept.glob("*/*/*.dcm")))
        for _ in range(5):
            peers = [associated(node.port) for _ in range(10)]
            for peer in peers:
                peer.sendall(store(bytes(300_000), whole=False))
            node.until(lambda: len(incoming(node)) == 10, 10)
            for peer in peers:
                if how == "abort":
                    peer.sendall(pdu.abort(0, 0))
                if how == "reset":
                    reset(peer)
                peer.close()
            node.until(lambda: not incoming(node), 10)
        assert len(list(kept.glob("*/*/*.dcm"))) == whole


def test_ten_thousand_bare_probes(node: Node, echo: Echo, corpus: Path) -> None:
    def probe(number: int) -> bool:
        began = time.monotonic()
        peer = connected(node)
        if number % 2:
            reset(peer)
        peer.close()
        return time.monotonic() - began > 0.9

    lines = len(node.said())
    with unharmed(node, echo, corpus), ThreadPoolExecutor(PROBERS) as pool:
        tried_again = sum(pool.map(probe, range(10_000)))
    assert tried_again <= PROBERS, "the kernel had no room for them"
    said = [line for line in node.said()[lines:] if line["role"].startswith("receive")]
    assert [line for line in said if line["event"] != SILENT] == []


def test_garbage_on_a_thousand_connections(node: Node, echo: Echo, corpus: Path) -> None:
    def one(seed: int) -> None:
        some = random.Random(seed)
        noise = some.randbytes(some.randrange(1, 5000))
        if seed % 4 == 0:  # what looks like a PDU at first
            noise = pdu.HEADER.pack(some.randrange(1, 8), some.randrange(4, 5000)) + noise
        with connected(node) as peer, contextlib.suppress(ConnectionError):
            if seed % 2:
                peer.sendall(request_pdu())
                assert heard(peer) == pdu.ACCEPT
            peer.sendall(noise)
            peer.shutdown(socket.SHUT_WR)
            while heard(peer):
                pass

    with unharmed(node, echo, corpus), ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(1000)))


def test_idle_associations_cost_no_processor(roomy: Node) -> None:
    with nothing_left(roomy), contextlib.ExitStack() as stack:
        for _ in range(30):
            stack.enter_context(associated(roomy.port))
        before = processor_s(roomy)
        time.sleep(3)
        assert processor_s(roomy) - before < 0.1  # a tick of 10 ms, where it was measured


def test_more_descriptors_than_select_knows(roomy: Node, echo: Echo, corpus: Path) -> None:
    (pid,) = receivers(roomy).values()
    with unharmed(roomy, echo, corpus, MANY), contextlib.ExitStack() as stack:
        for _ in range(MANY):
            stack.enter_context(associated(roomy.port))
        assert max(descriptors(pid)) > 1024
        assert_stores(roomy, corpus)
