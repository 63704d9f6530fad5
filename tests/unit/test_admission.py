"""Who may send."""

import socket
import ssl
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venturi.config.schema import Accept, Node, Peer
from venturi.receive.admission import Address, Admission, Admitted, CachedResolver, Refused

NODE = Node(ae_title=("VENTURI", "VENTURI_LOSSY"))
PEERS = {
    "any-local": Peer(ae_title=("*",), hosts=(ip_network("127.0.0.0/8"), ip_network("::1/128"))),
    "ct": Peer(ae_title=("CT1", "CT2"), hosts=(ip_network("10.1.0.0/24"), ip_network("2001:db8::/32"))),
    "pacs": Peer(ae_title=("MAIN_PACS",), host="pacs.example.org"),
    "literal": Peer(ae_title=("LITERAL",), host="192.0.2.7"),
    "nowhere": Peer(ae_title=("NOWHERE",)),
}


def no_names(name: str) -> frozenset[Address]:
    raise AssertionError(f"{name} was looked up")


def known(name: str) -> frozenset[Address]:
    assert name == "pacs.example.org"
    return frozenset({ip_address("198.51.100.4")})


def refusal(answer: Admitted | Refused) -> tuple[int, int, int]:
    assert isinstance(answer, Refused), answer
    return answer.result, answer.source, answer.diagnostic


@pytest.mark.parametrize(
    ("calling", "address", "peer"),
    [
        ("CT1", "10.1.0.9", "ct"),
        ("CT2 ", "10.1.0.200", "ct"),
        ("CT1", "::ffff:10.1.0.9", "ct"),
        ("CT1", "2001:db8::9", "ct"),
        ("CT1", "2001:db8::9%eth0", "ct"),
        ("ANYTHING", "127.0.0.1", "any-local"),
        ("ANYTHING", "::1", "any-local"),
        ("CT1", "127.0.0.1", "any-local"),
        ("LITERAL", "192.0.2.7", "literal"),
        ("MAIN_PACS", "198.51.100.4", "pacs"),
    ],
)
def test_a_peer_is_admitted_by_title_and_host(calling: str, address: str, peer: str) -> None:
    assert Admission(NODE, PEERS, known).admit(calling, "VENTURI", address) == Admitted(peer)


@pytest.mark.parametrize("called", ["VENTURI", "VENTURI_LOSSY", " VENTURI "])
def test_each_of_our_titles_may_be_called(called: str) -> None:
    assert Admission(NODE, PEERS, no_names).admit("CT1", called, "10.1.0.9") == Admitted("ct")


@pytest.mark.parametrize("called", ["", "venturi", "VENTURI2", "ANY-SCP"])
def test_another_called_title_is_refused_as_not_recognized(called: str) -> None:
    assert refusal(Admission(NODE, PEERS, no_names).admit("CT1", called, "10.1.0.9")) == (1, 1, 7)


@pytest.mark.parametrize(
    ("calling", "address"),
    [
        ("STRANGER", "10.1.0.9"),
        ("ct1", "10.1.0.9"),
        ("CT1", "10.1.1.9"),
        ("CT1", "::ffff:10.1.1.9"),
        ("LITERAL", "192.0.2.8"),
        ("MAIN_PACS", "10.1.0.9"),
        ("NOWHERE", "10.1.0.9"),
        ("CT1", "not an address"),
        ("*", "10.1.0.9"),
    ],
)
def test_an_unknown_title_or_host_is_refused_as_calling_title_not_recognized(
    calling: str, address: str
) -> None:
    assert refusal(Admission(NODE, PEERS, known).admit(calling, "VENTURI", address)) == (1, 1, 3)


def test_a_peer_that_names_the_title_is_preferred_to_one_that_takes_any() -> None:
    peers = {
        "any": Peer(ae_title=("*",), hosts=(ip_network("10.0.0.0/8"),)),
        "ct": Peer(ae_title=("CT1",), hosts=(ip_network("10.0.0.0/8"),)),
    }
    assert Admission(NODE, peers, no_names).admit("CT1", "VENTURI", "10.1.0.9") == Admitted("ct")


def test_without_peers_nobody_gets_in() -> None:
    assert refusal(Admission(NODE, {}, no_names).admit("CT1", "VENTURI", "127.0.0.1")) == (1, 1, 3)


def test_a_name_that_can_not_be_resolved_is_a_transient_refusal() -> None:
    def fails(name: str) -> frozenset[Address]:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    admission = Admission(NODE, PEERS, CachedResolver(fails))
    assert refusal(admission.admit("MAIN_PACS", "VENTURI", "198.51.100.4")) == (2, 1, 1)


def test_a_name_is_looked_up_once_while_the_answer_is_fresh() -> None:
    asked = []

    def ask(name: str) -> frozenset[Address]:
        asked.append(name)
        return known(name)

    admission = Admission(NODE, PEERS, CachedResolver(ask))
    for _ in range(3):
        admission.admit("MAIN_PACS", "VENTURI", "198.51.100.4")
    assert asked == ["pacs.example.org"]


def test_a_known_address_stays_good_while_the_resolver_fails() -> None:
    answers = iter([known("pacs.example.org")])

    def ask(name: str) -> frozenset[Address]:
        try:
            return next(answers)
        except StopIteration:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution") from None

    admission = Admission(NODE, PEERS, CachedResolver(ask, fresh_s=0, failed_s=0))
    for _ in range(3):
        assert admission.admit("MAIN_PACS", "VENTURI", "198.51.100.4") == Admitted("pacs")


def test_every_refusal_is_logged_with_escaped_text(capsys: pytest.CaptureFixture[str]) -> None:
    Admission(NODE, PEERS, no_names).admit("EVIL\x1b[2J\n", "VENTURI", "10.1.0.9")
    said = capsys.readouterr()
    text = said.out + said.err
    assert "association refused" in text
    assert "EVIL\\x1b[2J" in text.replace("\\\\", "\\")
    assert "\x1b[2J" not in text


@given(
    calling=st.text(max_size=20),
    called=st.text(max_size=20) | st.just("VENTURI"),
    address=st.ip_addresses().map(str) | st.text(max_size=40),
)
def test_only_a_configured_title_from_its_own_host_is_ever_admitted(
    calling: str, called: str, address: str
) -> None:
    peers = {"ct": PEERS["ct"]}
    answer = Admission(NODE, peers, no_names).admit(calling, called, address)
    if isinstance(answer, Admitted):
        assert calling.strip() in ("CT1", "CT2")
        assert called.strip() in NODE.ae_title
        mapped = getattr(ip_address(address), "ipv4_mapped", None) or ip_address(address)
        assert any(mapped in network for network in peers["ct"].hosts)


def test_who_has_the_title_of_a_bound_peer_does_not_come_in_as_another(tmp_path: Path) -> None:
    right, wrong, pem = b"the right one", b"another", tmp_path / "ct.pem"
    pem.write_text(ssl.DER_cert_to_PEM_cert(right))
    here = (ip_network("10.1.0.0/24"),)
    peers = {
        "any": Peer(ae_title=("*",), hosts=here),
        "ct": Peer(ae_title=("CT1",), hosts=here, certificate=pem),
    }
    admission = Admission(NODE, peers)
    assert admission.admit("CT1", "VENTURI", "10.1.0.5", right) == Admitted("ct")
    for shown in (wrong, b""):
        refused = admission.admit("CT1", "VENTURI", "10.1.0.5", shown)
        assert isinstance(refused, Refused)
        assert (refused.result, refused.source, refused.diagnostic) == (1, 1, 3)
    assert admission.admit("MR1", "VENTURI", "10.1.0.5", wrong) == Admitted("any")


def test_a_peer_may_have_two_certificates_while_it_changes_from_one_to_the_other(tmp_path: Path) -> None:
    peers = {}
    for name in ("old", "new"):
        (tmp_path / name).write_text(ssl.DER_cert_to_PEM_cert(name.encode()))
        peers[name] = Peer(ae_title=("CT1",), hosts=(ip_network("10.1.0.0/24"),), certificate=tmp_path / name)
    admission = Admission(NODE, peers)
    assert [admission.admit("CT1", "VENTURI", "10.1.0.5", name.encode()) for name in peers] == [
        Admitted("old"),
        Admitted("new"),
    ]


def test_a_peer_that_must_say_who_its_user_is_gets_in_only_so() -> None:
    peers = {"ct": PEERS["ct"].model_copy(update={"accept": Accept(user_identity="required")})}
    admission = Admission(NODE, peers, no_names)
    assert admission.admit("CT1", "VENTURI", "10.1.0.9", identified=True) == Admitted(
        "ct", peers["ct"].accept
    )
    assert refusal(admission.admit("CT1", "VENTURI", "10.1.0.9")) == (1, 1, 1)
    assert refusal(admission.admit("CT1", "ELSEWHERE", "10.1.0.9", identified=True)) == (1, 1, 7)


def test_a_peer_whose_host_is_not_known_now_does_not_come_in_as_any(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(name: str) -> frozenset[Address]:
        raise socket.gaierror(socket.EAI_AGAIN, name)

    here = (ip_network("10.0.0.0/8"),)
    peers = {
        "any": Peer(ae_title=("*",), hosts=here),
        "held": Peer(ae_title=("HELD",), host="held.example.org", accept=Accept(associations=1)),
    }
    admission = Admission(NODE, peers, CachedResolver(fails))
    assert refusal(admission.admit("HELD", "VENTURI", "10.1.0.9")) == (2, 1, 1)
    assert admission.admit("OTHER", "VENTURI", "10.1.0.9") == Admitted("any")


@pytest.mark.parametrize("calling", ["CT1\t", "\xa0CT1", "CT1\x1f"])
def test_only_spaces_are_padding(calling: str) -> None:
    assert refusal(Admission(NODE, PEERS, no_names).admit(calling, "VENTURI", "10.1.0.9")) == (1, 1, 3)
    assert Admission(NODE, PEERS, no_names).admit(" CT1 ", "VENTURI", "10.1.0.9") == Admitted("ct")
