"""Killed between the peer's 0000 and our record: it is sent again, byte for byte the same, and nothing is missing."""

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections import defaultdict
from pathlib import Path

from integration.delivering import Node, as_received, peer, within
from integration.scripted import accept, one_pdu
from venturi.deliver.courier import Courier
from venturi.deliver.dicom import Dicom
from venturi.deliver.retry import Backoff
from venturi.ledger.port import State
from venturi.ledger.sql import open_ledger
from venturi.model import Envelope
from venturi.spool.local import LocalSpool
from venturi.upper_layer import command, pdu

CT, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"
KILLS = 100
FORKED = multiprocessing.get_context("fork")
"""So that a hundred processes need not import everything each."""


def deliver(folder: Path, port: int, number: int) -> None:
    """A process that delivers until it is killed."""
    ledger = open_ledger(f"sqlite:///{folder / 'ledger.db'}", migrate=False)
    soon = Backoff(first_s=0.01, ceiling_s=0.02)
    ledger.release("courier/")  # as the supervisor does for a role that has died
    where = Dicom(peer(port), "VENTURI", within(10))
    Courier("there", where, ledger, LocalSpool(folder / "spool"), f"courier/{number}", soon).start()
    time.sleep(60)


def waiting(node: Node) -> int:
    """How many have not arrived."""
    return node.ledger.totals().deliveries.get(("there", State.PENDING), 0)


class Killing:
    """A peer that answers each C-STORE with 0000 and kills the sender at that moment, so many times."""

    def __init__(self) -> None:
        self.got: dict[str, list[bytes]] = defaultdict(list)
        self.kills = 0
        self.sender: int | None = None
        self._left = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client:
                try:
                    accept(client, 0)
                    while self._one(client):
                        pass
                except OSError:
                    pass  # killed

    def _one(self, client: socket.socket) -> bool:
        request, data, last = bytearray(), bytearray(), False
        while not last:
            kind, body = one_pdu(client)
            if kind == pdu.RELEASE_RQ:
                client.sendall(pdu.RELEASED)
                return False
            for _, of_command, last_of_it, part in pdu.fragments(body):
                (request if of_command else data).extend(part)
                last = last_of_it and not of_command
        found = command.parse(request)
        uid, number = command.uid(found, command.SOP_INSTANCE), command.number(found, command.MESSAGE_ID)
        self.got[uid].append(bytes(data))
        client.sendall(command.p_data_tf(1, command.response(command.C_STORE_RSP, number, 0, CT, uid)))
        self._left -= 1
        if self.kills < KILLS and self.sender is not None and self._left < 0:
            self.kills += 1
            self._left = self.kills % 5  # not always the first of a batch
            sender, self.sender = self.sender, None
            os.kill(sender, signal.SIGKILL)
            return False
        return True


def test_killed_between_the_peers_success_and_our_record(tmp_path: Path) -> None:
    node = Node(tmp_path)
    sent: dict[str, bytes] = {}
    for number in range(KILLS + 10):
        uid = f"1.2.3.{number}"
        sent[uid] = os.urandom(5_000)
        draft = node.intake.create(
            Envelope(CT, uid, EXPLICIT, "CT1", "VENTURI", "ct", "127.0.0.1", time.time())
        )
        draft.write(sent[uid])
        instance = draft.commit()
        node.decide(instance, "there", as_received(instance))
    killing = Killing()
    started = 0
    try:
        until = time.monotonic() + 120
        while waiting(node):
            assert time.monotonic() < until, (killing.kills, waiting(node))
            running = FORKED.Process(target=deliver, args=(tmp_path, killing.port, started), daemon=True)
            running.start()
            started += 1
            killing.sender = running.pid
            while running.is_alive() and waiting(node):
                time.sleep(0.01)
            running.kill()
            running.join(10)
    finally:
        killing.listener.close()
        node.close()
    assert killing.kills == KILLS
    assert sum(map(len, killing.got.values())) >= len(sent) + KILLS // 10, "some were not recorded yet"
    assert {uid: set(copies) for uid, copies in killing.got.items()} == {
        uid: {data} for uid, data in sent.items()
    }
