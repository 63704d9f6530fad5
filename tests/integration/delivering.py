"""Spool and ledger as the other roles leave them, and what delivers from there."""

import contextlib
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

from integration.peers import dataset_bytes, run
from venturi.config.schema import FolderDestination, Limits, Peer
from venturi.config.schema import Node as NodeConfig
from venturi.dataset import part10
from venturi.deliver.courier import Courier
from venturi.deliver.folder import Folder
from venturi.deliver.port import Destination, Parcel
from venturi.deliver.retry import Backoff
from venturi.ledger.port import Filter, State
from venturi.ledger.sql import SqlLedger, open_ledger
from venturi.model import AS_RECEIVED, Decision, Envelope, Instance, Judgement, Outcome, Proof, Reason, Target
from venturi.spool.local import LocalSpool
from venturi.transcode.engine import Engine

JPEG_LS = "1.2.840.10008.1.2.4.80"
NEAR_LOSSLESS = Target("1.2.840.10008.1.2.4.81", (("jls_error", 2), ("lossy_max_error", 2.0)))
SOON = Backoff(first_s=0.2, ceiling_s=0.5)


class Node:
    """Spool and ledger with received instances, as the other roles leave them."""

    def __init__(self, folder: Path) -> None:
        self.spool = LocalSpool(folder / "spool")
        self.intake = self.spool.intake()
        self.ledger: SqlLedger = open_ledger(f"sqlite:///{folder / 'ledger.db'}", migrate=True)

    def close(self) -> None:
        self.intake.close()
        self.ledger.close()

    def receive(self, path: Path) -> Instance:
        """As if a file had been received as it is."""
        meta, _ = read_meta(path)
        uids = (meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax)
        draft = self.intake.create(Envelope(*uids, "CT1", "VENTURI", "ct", "127.0.0.1", 1.0))
        draft.write(dataset_bytes(path))
        return draft.commit()

    def rendition(self, instance: Instance, path: Path) -> tuple[Target, Outcome]:
        """As if the transcoder had made ``path`` of an instance."""
        meta, offset = read_meta(path)
        data = path.read_bytes()[offset:]
        target = Target(meta.transfer_syntax)
        draft = self.spool.draft_rendition(instance, target)
        draft.path.write_bytes(path.read_bytes())
        draft.commit()
        sha256 = hashlib.sha256(data).hexdigest()
        return target, Outcome(target, meta.transfer_syntax, len(data), sha256, proof=Proof.PIXELS)

    def transcode(self, instance: Instance, target: Target) -> Outcome:
        """What the transcoder makes of an instance."""
        draft = self.spool.draft_rendition(instance, target)
        outcome = Engine().transcode(self.spool.materialise(instance), target, draft.path)
        assert outcome.transcoded, outcome
        draft.commit()
        return outcome

    def decide(self, instance: Instance, destination: str, outcome: Outcome) -> None:
        """As if the rules had decided."""
        self.ledger.add([instance])
        claimed = self.ledger.claim_instances("test", 100, 60)
        assert instance.id in [claim.instance.id for claim in claimed]
        decision = Decision(destination, "a rule", outcome.target)
        assert self.ledger.judge(Judgement(instance, (decision,), (outcome,)), "test")

    def parcel(self, instance: Instance, outcome: Outcome | None = None, delivery: int = 1) -> Parcel:
        original = self.spool.materialise(instance)
        if outcome is None:
            return Parcel(delivery, instance, as_received(instance), original, original)
        return Parcel(
            delivery, instance, outcome, self.spool.materialise_rendition(instance, outcome.target), original
        )

    def states(self) -> list[State]:
        return [row.state for row in self.ledger.deliveries(Filter())]


def as_received(instance: Instance) -> Outcome:
    return Outcome(
        AS_RECEIVED, instance.envelope.transfer_syntax, instance.size_bytes, instance.sha256, Reason.ASKED
    )


def read_meta(path: Path) -> tuple[part10.FileMeta, int]:
    with path.open("rb") as file:
        return part10.read(file)


def jpeg_ls_of(path: Path, folder: Path) -> Path:
    """The same image in JPEG-LS, by DCMTK."""
    made = folder / "jpeg-ls.dcm"
    done = run("dcmcjpls", "+un", path, made)
    assert done.returncode == 0, done.stderr
    return made


@contextlib.contextmanager
def courier(node: Node, destination: Destination, name: str = "there") -> Iterator[Courier]:
    runs = Courier(name, destination, node.ledger, node.spool, "test", SOON)
    runs.start()
    try:
        yield runs
    finally:
        runs.stop()
        runs.join(30)


def until(holds: object, timeout_s: float = 30) -> None:
    end = time.monotonic() + timeout_s
    while not holds():  # type: ignore[operator]  # a function
        assert time.monotonic() < end, "it did not come to pass in time"
        time.sleep(0.05)


def within(timeout_s: float) -> NodeConfig:
    return NodeConfig(limits=Limits(timeout_s=timeout_s))


def peer(port: int, title: str = "ANY-SCP") -> Peer:
    return Peer(ae_title=(title,), host="127.0.0.1", port=port)


def folder_of(folder: Path, **more: str) -> Folder:
    return Folder(FolderDestination(folder=folder, **more))
