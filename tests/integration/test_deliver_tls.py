"""Sending by TLS, with DCMTK's storescp as the peer: it must be who it should be, or it gets nothing."""

from pathlib import Path

import pytest

from integration.authority import Authority
from integration.delivering import Node, until, within
from integration.nodes import config_text, venturi
from integration.peers import sample, storescp
from venturi.config.schema import Node as NodeConfig
from venturi.config.schema import Peer, Tls
from venturi.deliver.dicom import Dicom, echo
from venturi.deliver.port import Ending
from venturi.errors import ConfigError


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("tls"))
    made.sign("node")
    made.sign("here", "IP:127.0.0.1")
    made.sign("there", "DNS:pacs.example.org")
    return made


def config(authority: Authority, ca: Authority | None = None) -> NodeConfig:
    trusted = (ca or authority).of("ca")
    tls = Tls(certificate=authority.of("node"), key=authority.key("node"), ca=trusted)
    return within(5).model_copy(update={"tls": tls})


def secure(authority: Authority, name: str) -> tuple[str, ...]:
    """Options of storescp: it shows this certificate, and asks for one."""
    return ("+tls", str(authority.key(name)), str(authority.of(name)), "+cf", str(authority.of("ca")))


def peer(port: int, **more: object) -> Peer:
    return Peer.model_validate(
        {"ae_title": ("ANY-SCP",), "host": "127.0.0.1", "port": port, "tls": True, **more}
    )


def test_a_peer_that_is_who_it_should_be_gets_every_byte(
    tmp_path: Path, corpus: Path, node: Node, authority: Authority
) -> None:
    parcels = [
        node.parcel(node.receive(sample(corpus, name)), delivery=at)
        for at, name in enumerate(("CT_small.dcm", "MR_small.dcm", "SC_rgb_jpeg_gdcm.dcm"))
    ]
    with storescp(tmp_path / "peer", "+B", "+xa", *secure(authority, "here")) as port:
        receipts = list(Dicom(peer(port), "VENTURI", config(authority)).deliver(parcels))
        assert [one.ending for one in receipts] == [Ending.DELIVERED] * 3, receipts
        assert echo(peer(port), "VENTURI", config(authority)).ok
    assert len(list((tmp_path / "peer").iterdir())) == 3


def test_a_certificate_for_another_host_counts_only_where_it_is_the_one_that_is_named(
    tmp_path: Path, corpus: Path, node: Node, authority: Authority
) -> None:
    parcel = node.parcel(node.receive(sample(corpus, "CT_small.dcm")))
    with storescp(tmp_path / "peer", *secure(authority, "there")) as port:
        for more, ending in (
            ({}, Ending.LATER),
            ({"certificate": authority.of("here")}, Ending.LATER),
            ({"certificate": authority.of("there")}, Ending.DELIVERED),
        ):
            where = Dicom(peer(port, **more), "VENTURI", config(authority))
            (receipt,) = where.deliver([parcel])
            assert receipt.ending is ending, (more, receipt)
            assert ending is Ending.DELIVERED or receipt.status == "tls"


def test_who_is_of_another_authority_or_speaks_no_tls_gets_nothing(
    tmp_path: Path, corpus: Path, node: Node, authority: Authority
) -> None:
    stranger = Authority(tmp_path / "stranger")
    parcel = node.parcel(node.receive(sample(corpus, "CT_small.dcm")))
    for options in (secure(authority, "here"), ()):
        with storescp(tmp_path / "peer", *options) as port:
            (receipt,) = Dicom(peer(port), "VENTURI", config(authority, stranger)).deliver([parcel])
        assert (receipt.ending, receipt.status) == (Ending.LATER, "tls"), receipt
    assert list((tmp_path / "peer").iterdir()) == []


def test_a_peer_is_called_by_tls_only_with_a_certificate_to_show(
    tmp_path: Path, authority: Authority
) -> None:
    text = config_text(peers='  pacs: {ae_title: PACS, host: pacs.example.org, tls: "true"}')
    (tmp_path / "venturi.yaml").write_text(text)
    checked = venturi("check", "-c", tmp_path / "venturi.yaml")
    assert checked.returncode == 2
    assert "there is no node.tls, which says what certificate we show this peer" in checked.stderr
    with pytest.raises(ConfigError):
        Dicom(peer(1, certificate=tmp_path / "venturi.yaml"), "VENTURI", config(authority))


def test_the_command_echoes_and_sends_by_tls(tmp_path: Path, corpus: Path, authority: Authority) -> None:
    with storescp(tmp_path / "peer", *secure(authority, "here")) as port:
        pem = (
            f"{{certificate: {authority.of('node')}, key: {authority.key('node')}, ca: {authority.of('ca')}}}"
        )
        text = config_text(
            peers=f"  pacs: {{ae_title: ANY-SCP, host: 127.0.0.1, port: {port}, tls: true}}"
        ).replace("  data: ./data", f"  data: ./data\n  tls: {pem}")
        (tmp_path / "venturi.yaml").write_text(text)
        assert venturi("echo", "pacs", "-c", tmp_path / "venturi.yaml").returncode == 0
        sent = venturi("send", "pacs", sample(corpus, "CT_small.dcm"), "-c", tmp_path / "venturi.yaml")
        assert "1 of 1 taken" in sent.stdout, sent.stderr
    until(lambda: len(list((tmp_path / "peer").iterdir())) == 1)
