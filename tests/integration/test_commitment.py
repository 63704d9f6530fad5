"""Storage commitment with a scriptable peer: where answers come, what they cost, and what survives (PS3.4 J)."""

import contextlib
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE, evt
from pynetdicom.presentation import build_role
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at run time
    CTImageStorage,
    MRImageStorage,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from integration.nodes import Node, config_text, running
from integration.peers import free_port, run, sample

Reference = tuple[str, str]
CT = "CT_small.dcm"
MR = "MR_small.dcm"


def told(ds: Dataset) -> dict[str, int]:
    """What an N-EVENT-REPORT says of each instance."""
    said = {str(item.ReferencedSOPInstanceUID): 0 for item in ds.get("ReferencedSOPSequence", [])}
    failed = ds.get("FailedSOPSequence", [])
    return {**said, **{str(item.ReferencedSOPInstanceUID): int(item.FailureReason) for item in failed}}


class Asker:
    """A modality that asks, and hears what it is told on its own associations, or where it listens."""

    def __init__(self, title: str = "ASKER") -> None:
        self.ae = AE(title)
        self.ae.add_requested_context(
            StorageCommitmentPushModel, [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
        )
        self.ae.add_supported_context(
            StorageCommitmentPushModel, [ImplicitVRLittleEndian], scu_role=False, scp_role=True
        )
        self.heard: list[tuple[str, dict[str, int]]] = []
        self.answer = 0
        self.port = 0
        self.handlers = [(evt.EVT_N_EVENT_REPORT, self._hear)]

    def _hear(self, event: evt.Event) -> tuple[int, None]:
        ds = event.event_information
        assert event.event_type == (2 if "FailedSOPSequence" in ds else 1)
        if not self.answer:
            self.heard.append((str(ds.TransactionUID), told(ds)))
        return self.answer, None

    def association(self, port: int) -> Any:
        """Open one to a node, on which it is told something, too."""
        association = self.ae.associate("127.0.0.1", port, ae_title="VENTURI", evt_handlers=self.handlers)
        assert association.is_established
        return association

    def ask(
        self, association: Any, *references: Reference, transaction: str = "", action: int = 1
    ) -> tuple[str, int]:
        """Ask; the transaction and the status."""
        ds = Dataset()
        ds.TransactionUID = transaction or generate_uid()
        ds.ReferencedSOPSequence = []
        for sop_class, sop_instance in references:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
            ds.ReferencedSOPSequence.append(item)
        status, _ = association.send_n_action(
            ds, action, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        return str(ds.TransactionUID), int(status.Status)

    def hears(self, transaction: str, timeout_s: float = 40) -> dict[str, int]:
        """Wait until it is told of a transaction: what."""
        Node.until(lambda: transaction in dict(self.heard), timeout_s)
        return dict(self.heard)[transaction]

    @contextlib.contextmanager
    def listening(self, port: int = 0) -> Iterator[int]:
        """Listen for reports."""
        server = self.ae.start_server(
            ("127.0.0.1", port or free_port()), block=False, evt_handlers=self.handlers
        )
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


class Archive:
    """A next node: takes C-STORE, and says of commitment what it is told to say."""

    def __init__(self, *, commits: bool = True) -> None:
        self.ae = AE("ARCHIVE")
        for sop_class in (CTImageStorage, MRImageStorage):
            self.ae.add_supported_context(sop_class, ["1.2.840.10008.1.2.4.80", ExplicitVRLittleEndian])
        if commits:
            self.ae.add_supported_context(StorageCommitmentPushModel)
        role = build_role(StorageCommitmentPushModel, scp_role=True)
        self.role = role
        self.port = free_port()
        self.stored: list[str] = []
        self.asked: list[tuple[str, list[Reference]]] = []
        self.status = 0
        self.reports: Callable[[Any, str, list[Reference]], None] = lambda *_: None

    def _store(self, event: evt.Event) -> int:
        self.stored.append(str(event.request.AffectedSOPInstanceUID))
        return 0

    def _action(self, event: evt.Event) -> tuple[int, None]:
        ds = event.action_information
        references = [
            (str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID))
            for item in ds.ReferencedSOPSequence
        ]
        self.asked.append((str(ds.TransactionUID), references))
        if self.status == 0:
            args = (event.assoc, str(ds.TransactionUID), references)
            threading.Timer(0.3, self.reports, args).start()
        return self.status, None

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Listen."""
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_N_ACTION, self._action)]
        server = self.ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        try:
            yield
        finally:
            server.shutdown()

    def report(self, association: Any, transaction: str, references: list[Reference], reason: int = 0) -> int:
        """Report on an association that is open: the status."""
        ds = Dataset()
        ds.TransactionUID = transaction
        items = []
        for sop_class, sop_instance in references:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
            if reason:
                item.FailureReason = reason
            items.append(item)
        if reason:
            ds.FailedSOPSequence = items
        else:
            ds.ReferencedSOPSequence = items
        status, _ = association.send_n_event_report(
            ds, 2 if reason else 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        return int(status.Status)

    def report_anew(
        self,
        port: int,
        transaction: str,
        references: list[Reference],
        reason: int = 0,
        title: str = "ARCHIVE",
    ) -> int:
        """Report on an association of its own: the status."""
        ae = AE(title)
        ae.add_requested_context(StorageCommitmentPushModel)
        association = ae.associate("127.0.0.1", port, ae_title="VENTURI", ext_neg=[self.role])
        assert association.is_established
        try:
            return self.report(association, transaction, references, reason)
        finally:
            association.release()


def send(node: Node, corpus: Path, name: str = CT) -> Reference:
    """Send a sample: its SOP class and instance."""
    path = sample(corpus, name)
    assert (
        run(
            "storescu", "-xs", "-R", "-aet", "ASKER", "-aec", "VENTURI", "127.0.0.1", str(node.port), path
        ).returncode
        == 0
    )
    ds = dcmread(path, stop_before_pixels=True)
    return str(ds.SOPClassUID), str(ds.SOPInstanceUID)


def forwarding(
    archive: Archive, *, commit: bool = True, peers: str = "", retain: str = "", within: str = "24h"
) -> str:
    """A configuration with an archive behind, and no folder."""
    text = config_text(
        peers=f"  pacs: {{ae_title: ARCHIVE, host: 127.0.0.1, port: {archive.port}}}\n{peers}",
        destinations=f"  pacs: {{dicom: pacs, commit: {str(commit).lower()}}}",
        to=", pacs",
    )
    text = text.replace("  archive: {folder: ./archive}\n", "").replace("[archive, pacs]", "[pacs]")
    return text.replace("  receivers: 2\n", f"  receivers: 2\n  commitment: {within}\n{retain}")


@pytest.fixture
def asker() -> Asker:
    return Asker()


@pytest.fixture
def archive() -> Iterator[Archive]:
    made = Archive()
    with made.running():
        yield made


def test_who_waits_is_told_on_the_association_it_asked_on(tmp_path: Path, corpus: Path, asker: Asker) -> None:
    """It may be silent longer than anybody else: it waits for what is being stored."""
    text = config_text().replace("  receivers: 2\n", "  receivers: 2\n  limits: {timeout: 2s}\n")
    (tmp_path / "archive").write_text("no folder can be made here")
    with running(tmp_path, text) as node:
        stored = send(node, corpus)
        association = asker.association(node.port)
        transaction, status = asker.ask(association, stored)
        assert status == 0
        time.sleep(5)
        assert association.is_established
        assert asker.heard == []
        (tmp_path / "archive").unlink()
        node.command("queue retry")
        assert asker.hears(transaction) == {stored[1]: 0}
        assert association.is_established
        association.release()


def test_who_asked_and_left_is_told_when_it_is_back_to_hear(
    tmp_path: Path, corpus: Path, asker: Asker
) -> None:
    with running(tmp_path) as node:
        stored = send(node, corpus)
        association = asker.association(node.port)
        transaction, _ = asker.ask(association, stored, (stored[0], "1.2.3.4"))
        association.release()
        node.until(lambda: requests(node)[0]["state"] == "answered", 30)
        other = Asker("SOMEBODY")
        strange = other.association(node.port)
        association = asker.association(node.port)
        assert asker.hears(transaction) == {stored[1]: 0, "1.2.3.4": 0x0112}
        assert other.heard == [], "it is nobody else's business"
        for each in (association, strange):
            each.release()


def test_who_listens_is_called_until_it_listens(tmp_path: Path, corpus: Path, asker: Asker) -> None:
    """And what it was told it is not told again, after restarts of everything neither."""
    port = free_port()
    text = config_text(peers=f"  asker: {{ae_title: ASKER, host: 127.0.0.1, port: {port}}}")
    with running(tmp_path, text) as node:
        stored = send(node, corpus)
        association = asker.association(node.port)
        transaction, _ = asker.ask(association, stored)
        association.abort()
        node.until(lambda: requests(node)[0]["tries"] >= 1, 30)
        assert "unreachable" in requests(node)[0]["detail"]
        node.kill_role("deliver")
        with asker.listening(port):
            asker.answer = 0x0110
            node.until(lambda: "0110" in requests(node)[0]["detail"], 60)
            asker.answer = 0
            assert asker.hears(transaction, 60) == {stored[1]: 0}
            node.until(lambda: requests(node)[0]["state"] == "reported", 20)
            node.stop()
            node.start()
            time.sleep(3)
            assert len(asker.heard) == 1


def test_a_request_outlives_every_kill(tmp_path: Path, corpus: Path, asker: Asker) -> None:
    port = free_port()
    text = config_text(peers=f"  asker: {{ae_title: ASKER, host: 127.0.0.1, port: {port}}}")
    with running(tmp_path, text) as node, asker.listening(port):
        stored = send(node, corpus)
        association = asker.association(node.port)
        transaction, status = asker.ask(association, stored)
        assert status == 0
        node.stop(signal.SIGKILL)
        node.until(lambda: not association.is_established, 20)
        node.start()
        assert asker.hears(transaction, 60) == {stored[1]: 0}


def test_a_forwarded_instance_is_committed_after_the_next_node_has(
    tmp_path: Path, corpus: Path, asker: Asker, archive: Archive
) -> None:
    with running(tmp_path, forwarding(archive)) as node:
        stored = send(node, corpus)
        association = asker.association(node.port)
        transaction, _ = asker.ask(association, stored)
        node.until(lambda: archive.asked, 40)
        ((number, references),) = archive.asked
        assert references == [stored]
        time.sleep(2)
        assert asker.heard == [], "it is delivered, and not committed"

        assert archive.report_anew(node.port, number, references, title="STRANGER") == 0x0115, (
            "not who was asked"
        )
        assert archive.report_anew(node.port, "1.2.3", references) == 0x0115
        assert asker.heard == []
        assert archive.report_anew(node.port, number, references) == 0
        assert asker.hears(transaction) == {stored[1]: 0}
        assert [row["state"] for row in node.deliveries()] == ["committed"]
        assert archive.report_anew(node.port, number, references, 0x0110) == 0, (
            "too late: nobody asks any more"
        )
        assert [row["state"] for row in node.deliveries()] == ["committed"]
        association.release()


def test_a_report_may_come_on_the_association_it_was_asked_on(
    tmp_path: Path, corpus: Path, archive: Archive
) -> None:
    statuses = []
    archive.reports = lambda *args: statuses.append(archive.report(*args))
    with running(tmp_path, forwarding(archive)) as node:
        first, second = send(node, corpus), send(node, corpus, MR)
        node.until(lambda: [row["state"] for row in node.deliveries()] == ["committed"] * 2, 40)
        assert {each for _, references in archive.asked for each in references} == {first, second}
        assert set(statuses) == {0}


def test_what_the_next_node_does_not_have_is_sent_again_and_then_held(
    tmp_path: Path, corpus: Path, asker: Asker, archive: Archive
) -> None:
    archive.reports = lambda *args: archive.report(*args, 0x0112)
    with running(tmp_path, forwarding(archive, within="60s")) as node:
        stored = send(node, corpus)
        for times in (1, 2, 3):
            node.until(lambda times=times: len(archive.asked) == times, 60)
            node.until(lambda: node.deliveries()[0]["status"] == "commit-0112", 30)
            if times < 3:
                assert node.deliveries()[0]["state"] == "pending"
                node.command("queue retry")
        assert node.deliveries()[0]["state"] == "held"
        assert archive.stored == [stored[1]] * 3
        association = asker.association(node.port)
        transaction, _ = asker.ask(association, stored)
        archive.reports = archive.report
        node.command("queue release --destination pacs")
        assert asker.hears(transaction, 60) == {stored[1]: 0}
        association.release()


def test_without_commitment_of_the_next_node_nothing_is_promised(
    tmp_path: Path, corpus: Path, asker: Asker, archive: Archive
) -> None:
    with running(tmp_path, forwarding(archive, commit=False)) as node:
        stored = send(node, corpus)
        node.settle(1)
        association = asker.association(node.port)
        transaction, _ = asker.ask(association, stored)
        assert asker.hears(transaction) == {stored[1]: 0x0110}
        association.release()
        assert archive.asked == []


def test_what_is_not_certain_in_time_counts_as_failed_and_goes_on(
    tmp_path: Path, corpus: Path, asker: Asker, archive: Archive
) -> None:
    """A next node that never answers is asked again."""
    with running(tmp_path, forwarding(archive, within="8s")) as node:
        stored = send(node, corpus)
        association = asker.association(node.port)
        transaction, _ = asker.ask(association, stored)
        assert asker.hears(transaction) == {stored[1]: 0x0110}
        node.until(lambda: len(archive.asked) >= 2, 60)
        assert len({number for number, _ in archive.asked}) == len(archive.asked)
        number, references = archive.asked[0]
        assert archive.report_anew(node.port, number, references) == 0, "late, and still good to know"
        assert [row["state"] for row in node.deliveries()] == ["committed"]
        association.release()


def test_a_next_node_that_does_not_commit_is_asked_again_and_shown(tmp_path: Path, corpus: Path) -> None:
    archive = Archive(commits=False)
    with archive.running(), running(tmp_path, forwarding(archive)) as node:
        send(node, corpus)
        node.until(lambda: [one["state"] for one in requests(node)] == ["refused"], 40)
        assert "no-context" in requests(node)[0]["detail"]
        assert [row["state"] for row in node.deliveries()] == ["delivered"]
        first = requests(node)[0]["id"]
        node.until(lambda: requests(node) and requests(node)[0]["id"] != first, 40)
        assert len(requests(node)) == 1, "only the last one is kept"


def test_the_original_stays_until_it_is_committed(tmp_path: Path, corpus: Path, archive: Archive) -> None:
    """The sweep is the janitor's: run here, rather than waited for."""
    from venturi import node as parts
    from venturi.config.load import load
    from venturi.deliver.retention import sweep_once

    retain = "  retain: {original: until-committed, after: 0s}\n"
    with running(tmp_path, forwarding(archive, retain=retain)) as node:
        send(node, corpus)
        node.until(lambda: archive.asked, 40)
        config = load(node.config)
        ledger, spool = parts.ledger_of(config), parts.spool_of(config)
        try:
            assert sweep_once(ledger, spool, config.node.retain) == 0
            assert [row.state for row in node.instances()] == ["decided"]
            (number, references), *_ = archive.asked
            assert archive.report_anew(node.port, number, references) == 0
            assert sweep_once(ledger, spool, config.node.retain) == 1
            assert [row.state for row in node.instances()] == ["gone"]
        finally:
            ledger.close()


def test_files_are_read_again_before_the_original_may_go(tmp_path: Path, corpus: Path) -> None:
    text = config_text().replace(
        "  receivers: 2\n", "  receivers: 2\n  retain: {original: until-committed}\n"
    )
    with running(tmp_path, text) as node:
        stored = send(node, corpus)
        node.until(lambda: [row["state"] for row in node.deliveries()] == ["delivered"], 40)
        (path,) = (tmp_path / "archive").rglob(f"{stored[1]}.dcm")
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        node.until(lambda: [row["status"] for row in node.deliveries()] == ["commit-not-found"], 40)
        path.unlink()
        node.command("queue retry")
        node.until(lambda: [row["state"] for row in node.deliveries()] == ["committed"], 40)
        assert path.read_bytes() == whole


def test_what_is_no_request_is_refused_and_the_association_goes_on(
    tmp_path: Path, corpus: Path, asker: Asker
) -> None:
    with running(tmp_path) as node:
        stored = send(node, corpus)
        association = asker.association(node.port)
        assert asker.ask(association, stored, action=2)[1] == 0x0123
        assert asker.ask(association)[1] == 0x0115, "about nothing"
        ds = Dataset()
        ds.TransactionUID = "1.2.3"
        status, _ = association.send_n_action(ds, 1, StorageCommitmentPushModel, "1.2.3.4")
        assert status.Status == 0x0112
        transaction, status = asker.ask(association, stored, transaction="1.2.3.5")
        assert status == 0
        assert asker.ask(association, stored, transaction="1.2.3.5")[1] in {0, 0x0115}
        assert asker.hears(transaction) == {stored[1]: 0}
        assert run("echoscu", "-aec", "VENTURI", "127.0.0.1", str(node.port)).returncode == 0
        association.release()


def test_the_same_transaction_for_other_instances_is_refused(
    tmp_path: Path, corpus: Path, asker: Asker
) -> None:
    (tmp_path / "archive").write_text("no folder can be made here")
    with running(tmp_path) as node:
        stored = send(node, corpus)
        association = asker.association(node.port)
        assert asker.ask(association, stored, transaction="1.2.3.6")[1] == 0
        assert asker.ask(association, stored, transaction="1.2.3.6")[1] == 0, "said twice, recorded once"
        assert asker.ask(association, (stored[0], "1.2.3"), transaction="1.2.3.6")[1] == 0x0115
        association.release()
        assert len(requests(node)) == 1


def requests(node: Node) -> list[dict[str, Any]]:
    """What ``venturi commitment`` says, newest first."""
    said: list[dict[str, Any]] = json.loads(node.command("commitment", "--json").stdout)
    return said
