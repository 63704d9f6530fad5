"""What one peer may send and another may not: by real senders, as they are told."""

import socket
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pynetdicom import AE
from pynetdicom.pdu_primitives import UserIdentityNegotiation
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at run time
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from integration.peers import run, sample
from integration.receiving import receiving
from integration.test_receive import CT, EXPLICIT, IMPLICIT, JPEG_LS, associate
from unit.associations import request_pdu
from venturi.config.schema import Accept, Peer
from venturi.rules.parse import parse
from venturi.upper_layer import pdu

MR = "1.2.840.10008.5.1.4.1.1.4"


def peers(**accept: Any) -> dict[str, Peer]:
    """One that is held to something, and the others."""
    here = (ip_network("127.0.0.0/8"),)
    return {
        "held": Peer(ae_title=("HELD",), hosts=here, accept=Accept(**accept)),
        "other": Peer(ae_title=("*",), hosts=here),
    }


def storescu(port: int, path: Path, *options: str, calling: str = "HELD") -> str:
    """What DCMTK's storescu says of one object."""
    words = ("-v", "-aet", calling, "-aec", "VENTURI", *options, "127.0.0.1", str(port), path)
    done = run("storescu", *words)
    return done.stdout + done.stderr


def test_a_peer_is_held_to_its_classes(tmp_path: Path, corpus: Path) -> None:
    ct, mr = sample(corpus, "CT_small.dcm"), sample(corpus, "MR_small.dcm")
    with receiving(tmp_path, peers(sop_classes=(CT,))) as receiver:
        assert "Success" in storescu(receiver.port, ct)
        assert "No valid Presentation Context" in storescu(receiver.port, mr)
        assert "Success" in storescu(receiver.port, mr, calling="ANOTHER")
        association = associate(receiver.port, [(CT, [EXPLICIT]), (MR, [EXPLICIT])], calling="HELD")
        assert [one.abstract_syntax for one in association.accepted_contexts] == [CT]
        assert [one.result for one in association.rejected_contexts] == [3]
        association.release()
        assert len(receiver.instances()) == 2


def test_a_peer_is_held_to_its_syntaxes_in_their_order(tmp_path: Path) -> None:
    with receiving(tmp_path, peers(transfer_syntaxes=(IMPLICIT, JPEG_LS))) as receiver:
        wanted = [(CT, [EXPLICIT, JPEG_LS, IMPLICIT]), (CT, [EXPLICIT, JPEG_LS]), (MR, [EXPLICIT])]
        association = associate(receiver.port, wanted, calling="HELD")
        assert [one.transfer_syntax[0] for one in association.accepted_contexts] == [IMPLICIT, JPEG_LS]
        assert [one.result for one in association.rejected_contexts] == [4]
        association.release()


def test_a_peer_has_no_more_associations_than_it_may_have(tmp_path: Path) -> None:
    with receiving(tmp_path, peers(associations=1)) as receiver:
        first = associate(receiver.port, [(CT, [EXPLICIT])], calling="HELD")
        second = associate(receiver.port, [(CT, [EXPLICIT])], calling="HELD")
        other = associate(receiver.port, [(CT, [EXPLICIT])])
        assert (first.is_established, second.is_rejected, other.is_established) == (True, True, True)
        rejected = second.acceptor.primitive
        assert (rejected.result, rejected.result_source, rejected.diagnostic) == (2, 3, 2)
        first.release()
        other.release()
        again = associate(receiver.port, [(CT, [EXPLICIT])], calling="HELD")
        assert again.is_established
        again.release()


def test_a_peer_must_say_who_its_user_is(tmp_path: Path, corpus: Path) -> None:
    path = sample(corpus, "CT_small.dcm")
    with receiving(tmp_path, peers(user_identity="required")) as receiver:
        assert "Association Rejected" in storescu(receiver.port, path)
        assert "Success" in storescu(receiver.port, path, "--user", "jane", "--password", "secret")
        assert "Success" in storescu(receiver.port, path, calling="ANOTHER")


def test_a_user_identity_that_is_not_required_is_taken_and_answered(tmp_path: Path) -> None:
    identity = UserIdentityNegotiation()
    identity.user_identity_type, identity.positive_response_requested = 1, True
    identity.primary_field = b"jane"
    ae = AE("HELD")
    ae.add_requested_context(CT, [EXPLICIT])
    with receiving(tmp_path, peers()) as receiver:
        association = ae.associate("127.0.0.1", receiver.port, ae_title="VENTURI", ext_neg=[identity])
        assert association.is_established
        assert association.acceptor.user_identity is not None
        association.release()


def test_what_policy_denies_is_refused_with_0124(tmp_path: Path, corpus: Path) -> None:
    ct, mr = sample(corpus, "CT_small.dcm"), sample(corpus, "MR_small.dcm")
    with receiving(tmp_path, peers(deny=parse({"Modality": "MR"}))) as receiver:
        assert "Success" in storescu(receiver.port, ct)
        assert "(Unknown Status: 0x124)" in storescu(receiver.port, mr)
        assert "Success" in storescu(receiver.port, mr, calling="ANOTHER")
        assert sorted(each.envelope.sop_class_uid for each in receiver.instances()) == [CT, MR]
        assert receiver.partial() == []


def test_what_cannot_be_read_is_refused_with_C000_where_policy_says_so(tmp_path: Path, corpus: Path) -> None:  # noqa: N802 - the status as the standard writes it
    from integration.peers import dataset_bytes
    from integration.test_receive import send

    path = sample(corpus, "CT_small.dcm")
    uid, cut = "1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322", dataset_bytes(path)
    cut = cut[: cut.index(b"\x28\0\x10\0US") + 3]
    with receiving(tmp_path, peers(unreadable="refuse")) as receiver:
        for calling, status in (("HELD", 0xC000), ("ANOTHER", 0x0000)):
            association = associate(receiver.port, [(CT, [EXPLICIT])], calling=calling)
            assert send(association, cut, sop_instance=uid) == status
            association.release()
        assert "Success" in storescu(receiver.port, path)
        assert len(receiver.instances()) == 2


@pytest.mark.parametrize("calling", ["HELD", "ANOTHER"])
def test_storage_commitment_is_negotiated_and_nothing_is_promised(tmp_path: Path, calling: str) -> None:
    asked = Dataset()
    asked.TransactionUID = "1.2.3"
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CT, "1.2.3.4"
    asked.ReferencedSOPSequence = [item] * 300
    contexts = [(str(StorageCommitmentPushModel), [IMPLICIT]), (CT, [EXPLICIT])]
    with receiving(tmp_path, peers(sop_classes=(CT,))) as receiver:
        association = associate(receiver.port, contexts, calling=calling)
        status, _ = association.send_n_action(
            asked, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        assert status.Status == 0x0110
        assert association.is_established
        association.release()


def test_a_seat_is_free_when_the_association_is_over_whoever_closes_when(tmp_path: Path) -> None:
    with (
        receiving(tmp_path, peers(associations=1)) as receiver,
        socket.create_connection(("127.0.0.1", receiver.port)) as first,
    ):
        first.sendall(request_pdu(calling="HELD"))
        assert first.recv(1) == bytes((pdu.ACCEPT,))
        first.sendall(pdu.RELEASE)
        heard = b""
        while not heard.endswith(pdu.RELEASED):
            heard += first.recv(4096)
        second = associate(receiver.port, [(CT, [EXPLICIT])], calling="HELD")
        assert second.is_established, "the first has released, and not closed yet"
        second.release()
