"""TLS, with DCMTK's tools as the peer: mutual, bound to the peer's certificate, and nobody waits for who is silent."""

import contextlib
import hashlib
import shutil
import signal
import socket
import ssl
import subprocess
import time
from ipaddress import ip_network
from pathlib import Path

import pytest

from integration.authority import Authority
from integration.nodes import Node, config_text, running
from integration.peers import run, sample
from integration.receiving import receiving
from unit.associations import request_pdu
from venturi.config.schema import Limits, Peer, Tls
from venturi.errors import ConfigError
from venturi.upper_layer import pdu, tls


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("tls"))
    for name in ("node", "ct1", "mr1"):
        made.sign(name)
    return made


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("other"))
    made.sign("ct1")
    return made


def node_tls(authority: Authority) -> Tls:
    return Tls(certificate=authority.of("node"), key=authority.key("node"), ca=authority.of("ca"))


LIMITS = Limits(min_free=0.0, timeout_s=2)


def storescu(
    port: int, path: Path, authority: Authority, name: str, trusts: Authority
) -> subprocess.CompletedProcess[str]:
    """DCMTK's storescu by TLS, with a certificate of an authority."""
    secure = ("+tls", authority.key(name), authority.of(name), "+cf", trusts.of("ca"))
    return run(
        "storescu", "-v", *secure, "-aet", name.upper(), "-aec", "VENTURI", "127.0.0.1", str(port), path
    )


def said(ran: subprocess.CompletedProcess[str]) -> str:
    return ran.stdout + ran.stderr


def test_dcmtk_stores_by_tls(tmp_path: Path, corpus: Path, authority: Authority) -> None:
    with receiving(tmp_path, limits=LIMITS, tls=node_tls(authority)) as receiver:
        ran = storescu(receiver.port, sample(corpus, "CT_small.dcm"), authority, "ct1", authority)
        assert "Received Store Response (Success)" in said(ran)
        (instance,) = receiver.instances()
    shown = ssl.PEM_cert_to_DER_cert(authority.of("ct1").read_text())
    assert instance.envelope.certificate == hashlib.sha256(shown).hexdigest(), (
        "the spool keeps who has sent it"
    )


@pytest.mark.parametrize("with_certificate", [True, False], ids=["of another authority", "none"])
def test_who_is_not_known_gets_no_association(
    tmp_path: Path, corpus: Path, authority: Authority, stranger: Authority, with_certificate: bool
) -> None:
    with receiving(tmp_path, limits=LIMITS, tls=node_tls(authority)) as receiver:
        path = sample(corpus, "CT_small.dcm")
        if with_certificate:
            ran = storescu(receiver.port, path, stranger, "ct1", authority)
        else:
            anonymous = ("+tla", "+cf", authority.of("ca"))
            ran = run("storescu", "-v", *anonymous, "-aec", "VENTURI", "127.0.0.1", str(receiver.port), path)
        assert ran.returncode != 0
        assert receiver.instances() == []


def test_plaintext_gets_no_association(tmp_path: Path, corpus: Path, authority: Authority) -> None:
    with receiving(tmp_path, limits=LIMITS, tls=node_tls(authority)) as receiver:
        assert run("echoscu", "-aec", "VENTURI", "127.0.0.1", str(receiver.port)).returncode != 0


def test_a_peer_is_bound_to_its_certificate(tmp_path: Path, corpus: Path, authority: Authority) -> None:
    peers = {
        "ct": Peer(ae_title=("CT1",), hosts=(ip_network("127.0.0.0/8"),), certificate=authority.of("mr1")),
        "mr": Peer(ae_title=("MR1",), hosts=(ip_network("127.0.0.0/8"),), certificate=authority.of("mr1")),
    }
    with receiving(tmp_path, peers, limits=LIMITS, tls=node_tls(authority)) as receiver:
        path = sample(corpus, "CT_small.dcm")
        refused = storescu(receiver.port, path, authority, "ct1", authority)
        assert "Calling AE Title Not Recognized" in said(refused)
        assert receiver.instances() == []
        assert "(Success)" in said(storescu(receiver.port, path, authority, "mr1", authority))
        assert [one.envelope.peer for one in receiver.instances()] == ["mr"]


def test_who_is_bound_to_a_certificate_is_refused_without_tls(tmp_path: Path, authority: Authority) -> None:
    peers = {"ct": Peer(ae_title=("*",), hosts=(ip_network("127.0.0.0/8"),), certificate=authority.of("ct1"))}
    with receiving(tmp_path, peers, limits=LIMITS) as receiver:
        ran = run("echoscu", "-aec", "VENTURI", "127.0.0.1", str(receiver.port))
        assert "Calling AE Title Not Recognized" in said(ran)


def test_nobody_waits_for_a_silent_handshake(tmp_path: Path, corpus: Path, authority: Authority) -> None:
    with (
        receiving(tmp_path, limits=LIMITS, tls=node_tls(authority)) as receiver,
        contextlib.ExitStack() as stack,
    ):
        silent = [
            stack.enter_context(socket.create_connection(("127.0.0.1", receiver.port))) for _ in range(12)
        ]
        silent[0].sendall(b"\x16\x03\x01")
        began = time.monotonic()
        ran = storescu(receiver.port, sample(corpus, "CT_small.dcm"), authority, "ct1", authority)
        assert "(Success)" in said(ran)
        assert time.monotonic() - began < 2
        silent[1].settimeout(10)
        assert silent[1].recv(100) == b"", "it is closed at its deadline"


def test_who_is_silent_is_counted_and_who_is_not_has_a_line(
    tmp_path: Path, authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        receiving(tmp_path, limits=LIMITS, tls=node_tls(authority)) as receiver,
        contextlib.ExitStack() as stack,
    ):
        peers = [
            stack.enter_context(socket.create_connection(("127.0.0.1", receiver.port))) for _ in range(3)
        ]
        peers[0].sendall(b"\x16\x03\x01")
        peers[1].shutdown(socket.SHUT_WR)
        for peer in peers:
            peer.settimeout(LIMITS.timeout_s + 2)
            peer.recv(100)
    said = "".join(capsys.readouterr())
    assert said.count("TLS refused") == 1
    assert said.count("connections without a word") >= 1


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_it_speaks_tls_1_2_and_1_3(tmp_path: Path, authority: Authority, version: ssl.TLSVersion) -> None:
    client = ssl.create_default_context(cafile=authority.of("ca"))
    client.check_hostname = False
    client.minimum_version = client.maximum_version = version
    client.load_cert_chain(authority.of("ct1"), authority.key("ct1"))
    with (
        receiving(tmp_path, limits=LIMITS, tls=node_tls(authority)) as receiver,
        socket.create_connection(("127.0.0.1", receiver.port)) as plain,
        client.wrap_socket(plain) as secured,
    ):
        suite, *_ = secured.cipher() or ("",)
        assert "GCM" in suite or "CHACHA20" in suite
        secured.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert secured.recv(100)[:1] == b"\x07", "an A-ABORT"


def test_a_stop_aborts_what_is_idle_in_words(tmp_path: Path, authority: Authority) -> None:
    client = ssl.create_default_context(cafile=authority.of("ca"))
    client.check_hostname = False
    client.load_cert_chain(authority.of("ct1"), authority.key("ct1"))
    with (
        receiving(tmp_path, limits=LIMITS, tls=node_tls(authority)) as receiver,
        socket.create_connection(("127.0.0.1", receiver.port)) as plain,
        client.wrap_socket(plain) as secured,
    ):
        secured.sendall(request_pdu())
        assert secured.recv(6)[0] == pdu.ACCEPT
        receiver.stop.set()
        heard = b""
        while more := secured.recv(4096):
            heard += more
        assert heard.endswith(pdu.abort(pdu.ABORT_BY_USER, pdu.NOT_SPECIFIED))


def test_a_weaker_client_is_refused(tmp_path: Path, authority: Authority) -> None:
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers("AES128-SHA:AES256-SHA:@SECLEVEL=0")
    with (
        receiving(tmp_path, limits=LIMITS, tls=node_tls(authority)) as receiver,
        socket.create_connection(("127.0.0.1", receiver.port)) as plain,
        pytest.raises(ssl.SSLError),
    ):
        client.wrap_socket(plain)


def shown_by(port: int, authority: Authority) -> bytes:
    """The certificate that a node shows (DER)."""
    client = ssl.create_default_context(cafile=authority.of("ca"))
    client.check_hostname = False
    client.load_cert_chain(authority.of("ct1"), authority.key("ct1"))
    with socket.create_connection(("127.0.0.1", port)) as plain, client.wrap_socket(plain) as secured:
        return secured.getpeercert(binary_form=True) or b""


def test_a_running_node_takes_new_certificates_on_sighup_and_keeps_the_old_where_they_are_wrong(
    tmp_path: Path, corpus: Path, authority: Authority
) -> None:
    def use(name: str) -> None:
        shutil.copy(authority.of(name), tmp_path / "node.pem")
        shutil.copy(authority.key(name), tmp_path / "node.key")

    use("node")
    shutil.copy(authority.of("ca"), tmp_path / "peers.pem")
    tls_line = "  tls: {certificate: node.pem, key: node.key, ca: peers.pem}\n  workers"
    with running(tmp_path, config_text().replace("  workers", tls_line)) as node:
        assert "(Success)" in said(
            storescu(node.port, sample(corpus, "CT_small.dcm"), authority, "ct1", authority)
        )
        assert node.settle(1)["instances"] == {"decided": 1}
        before = shown_by(node.port, authority)
        (tmp_path / "node.key").write_text("no key")
        node.process.send_signal(signal.SIGHUP)
        node.until(lambda: any(line["event"].startswith("reload refused") for line in node.said()), 15)
        assert shown_by(node.port, authority) == before
        use("mr1")
        roles = node.state["roles"]
        node.process.send_signal(signal.SIGHUP)
        node.until(lambda: set(node.state["roles"].values()).isdisjoint(roles.values()), 30)
        Node.until(lambda: shown_by(node.port, authority) != before, 15)


def test_what_is_wrong_with_certificates_is_said_when_they_are_loaded(
    tmp_path: Path, authority: Authority
) -> None:
    mixed = Tls(certificate=authority.of("node"), key=authority.key("ct1"), ca=authority.of("ca"))
    with pytest.raises(ConfigError, match=r"node\.pem and .*ct1\.key: key values mismatch"):
        tls.acceptor(mixed)
    (tmp_path / "empty.pem").write_text("")
    with pytest.raises(ConfigError, match=r"empty\.pem"):
        tls.acceptor(
            Tls(certificate=authority.of("node"), key=authority.key("node"), ca=tmp_path / "empty.pem")
        )
    with pytest.raises(ConfigError, match=r"peers\.ct\.certificate: .*empty\.pem"):
        tls.bound({"ct": Peer(ae_title=("CT1",), certificate=tmp_path / "empty.pem")})
    locked = tmp_path / "locked.key"
    command = [
        "openssl",
        "rsa",
        "-aes128",
        "-passout",
        "pass:x",
        "-in",
        authority.key("node"),
        "-out",
        locked,
    ]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    with pytest.raises(ConfigError, match="password"):
        tls.acceptor(Tls(certificate=authority.of("node"), key=locked, ca=authority.of("ca")))
