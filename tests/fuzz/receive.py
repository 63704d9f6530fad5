"""Bytes that nobody should send, through a whole association: PDUs, negotiation, P-DATA, command sets.

    python tests/fuzz/receive.py --inputs 1000000 --jobs 2

Each input is a stream that was right and is changed: bits and bytes, lengths, pieces left out, doubled, or taken from
another, and cut anywhere by the network. Whatever it is, the association must end by itself and say only whole PDUs, no
exception may be one of our own mistakes, and no object may stay open. An input that breaks this is printed, with the
seed that makes it again.
"""

import argparse
import multiprocessing
import os
import random
import sys
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from unit.associations import CT, ECHO, EXPLICIT, Host, command_pdu, data_pdu, play, request_pdu, store
from venturi.dataset.commitment import read_request, read_result, write_request, write_result
from venturi.errors import Malformed
from venturi.ledger.port import Commitment
from venturi.model import CommitmentRequest, CommitmentResult, Reference
from venturi.receive.commitment import Partner
from venturi.upper_layer import command, pdu

VERIFICATION = "1.2.840.10008.1.1"
RELEASE = pdu.HEADER.pack(pdu.RELEASE_RQ, 4) + bytes(4)
INTERESTING = (0, 1, 2, 3, 4, 5, 6, 7, 0x10, 0x20, 0x30, 0x40, 0x50, 0x54, 0x7F, 0x80, 0xFE, 0xFF)
SEEDS: Sequence[tuple[bytes, ...]] = (
    (request_pdu(), store(b"abc" * 30, size=40), RELEASE),
    (request_pdu(), store(b"x" * 10), store(b"y" * 300, size=7), pdu.abort(0, 0)),
    (
        request_pdu([(VERIFICATION, [EXPLICIT]), (CT, [EXPLICIT, "1.2.840.10008.1.2"])]),
        command_pdu(ECHO, 1),
        RELEASE,
    ),
    (request_pdu([(CT, [EXPLICIT])] * 20), command_pdu(ECHO, 3), data_pdu(b"z", 1), RELEASE),
    (pdu.RELEASED, pdu.reject(1, 1, 1), request_pdu(), RELEASE, store(b"late")),
)
CHUNK = 2000
COMMITMENT = [(CT, [EXPLICIT]), (command.COMMITMENT_PUSH, [EXPLICIT])]
ASKED = (Reference(CT, "1.2.3"), Reference(CT, "1.2.4"))
SEEDS += (
    (
        request_pdu(COMMITMENT),
        command_pdu(command.action_request(7), 3),
        data_pdu(write_request(CommitmentRequest("1.9", ASKED), EXPLICIT), 3),
        RELEASE,
    ),
    (
        request_pdu(COMMITMENT[1:]),
        command_pdu(command.event_report_request(7, 2), 1),
        data_pdu(write_result(CommitmentResult("1.9", ASKED[:1], ((ASKED[1], 0x0112),)), EXPLICIT), 1),
        command_pdu(command.response(command.N_EVENT_REPORT_RSP, 1, 0, command.COMMITMENT_PUSH, ""), 1),
    ),
)


class Commitments:
    """Reads what is asked and reported, and takes it; a mistake in reading is not hidden."""

    owner = "fuzz"

    def requested(self, data: bytes, transfer_syntax: str, partner: Partner) -> int:
        try:
            read_request(data, transfer_syntax)
        except Malformed:
            return 0x0115
        return 0

    def reported(self, data: bytes, transfer_syntax: str, partner: Partner) -> int:
        try:
            read_result(data, transfer_syntax)
        except Malformed:
            return 0x0115
        return 0

    def to_tell(self, partner: Partner, owner: str) -> None:
        return None

    def told(self, commitment: Commitment, owner: str, failure: str, due_at: float) -> None:
        pass


def changed(chance: random.Random) -> tuple[bytes, list[int]]:
    """A stream, and how it is cut."""
    parts = list(chance.choice(SEEDS))
    roll = chance.random()
    if roll < 0.1:
        parts.insert(chance.randrange(len(parts) + 1), chance.choice(chance.choice(SEEDS)))
    elif roll < 0.15:
        chance.shuffle(parts)
    stream = bytearray(b"".join(parts))
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        at = chance.randrange(len(stream) + 1)
        match chance.randrange(6):
            case 0 if at < len(stream):
                stream[at] ^= 1 << chance.randrange(8)
            case 1 if at < len(stream):
                stream[at] = chance.choice(INTERESTING)
            case 2:
                del stream[at : at + chance.randrange(20)]
            case 3:
                stream[at:at] = stream[at : at + chance.randrange(40)]
            case 4:
                stream[at:at] = chance.randbytes(chance.randrange(12))
            case _:
                stream[at : at + 4] = chance.choice((1 << 31, 0xFFFFFFFF, len(stream), 0, 6)).to_bytes(
                    4, "big"
                )
    return bytes(stream), [chance.randrange(1, 400) for _ in range(chance.choice((1, 1, 4)))]


def wrong(stream: bytes, sizes: list[int]) -> str:
    """What an association does over a stream that it should not; empty where all is well."""
    host = Host()
    host.commitment = Commitments()  # type: ignore[assignment]  # as much as it uses
    said = play(host, stream, sizes)
    if host.log.mistakes:
        return f"a mistake of ours: {host.log.mistakes}"
    if (host.open, host.over) != (0, 1):
        return f"{host.open} objects open, ended {host.over} times"
    at = 0
    while at < len(said):
        if at + 6 > len(said):
            return "half a PDU was said"
        kind, length = pdu.HEADER.unpack_from(said, at)
        if kind not in (pdu.ACCEPT, pdu.REJECT, pdu.P_DATA_TF, pdu.RELEASE_RP, pdu.ABORT):
            return f"a PDU of type {kind} was said"
        at += 6 + length
    return "" if at == len(said) else "more was said than whole PDUs"


def run(seed: int) -> tuple[int, str]:
    """A chunk of inputs; the seed, and what was wrong with the first that was."""
    chance = random.Random(seed)
    for number in range(CHUNK):
        stream, sizes = changed(chance)
        try:
            fault = wrong(stream, sizes)
        except Exception as error:
            fault = f"{type(error).__name__}: {error}"
        if fault:
            return seed, f"input {number}: {fault}: {stream.hex()} cut {sizes}"
    return seed, ""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    began, done = time.monotonic(), 0
    seeds = range(options.seed, options.seed + max(1, options.inputs // CHUNK))
    with multiprocessing.Pool(options.jobs) as pool:
        for seed, fault in pool.imap_unordered(run, seeds):
            done += CHUNK
            if fault:
                print(f"seed {seed}: {fault}")
                return 1
            if sys.stdout.isatty():
                print(f"\r{done:,} inputs, {done / (time.monotonic() - began):,.0f}/s", end="", flush=True)
    tracemalloc.start()
    run(options.seed)
    before = tracemalloc.get_traced_memory()[0]
    run(options.seed + 1)
    grown = tracemalloc.get_traced_memory()[0] - before
    print(f"\r{done:,} inputs from seed {options.seed} in {time.monotonic() - began:.0f} s: nothing wrong")
    if grown > 100_000:
        print(f"but memory grew by {grown} bytes over {CHUNK} of them")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
