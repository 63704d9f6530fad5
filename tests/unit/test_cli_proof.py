"""What people are told of a rendition: proven equal, lossy within its bound, or not proven; in words and in JSON."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom.data
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from venturi import node
from venturi.cli import main
from venturi.config.load import load
from venturi.console.metrics import LedgerCollector
from venturi.console.page import render
from venturi.console.port import Glance, done
from venturi.errors import ConfigError
from venturi.ledger.port import Attempt, Ledger, State
from venturi.model import Decision, Envelope, Instance, Judgement, Lossy, Outcome, Proof, Reason, Target

MR = str(pydicom.data.get_testdata_file("MR_small.dcm"))
RLE = str(pydicom.data.get_testdata_file("MR_small_RLE.dcm"))
CONFIG = """\
node: {data: ./data}
peers: {ct: {ae_title: CT, hosts: [127.0.0.1]}}
rules:
  - {name: near, when: {destination: near}, from: lossless, transfer_syntax: JPEGLSNearLossless, jls_error: 2,
     lossy: {max_error: 2}}
  - {name: far, when: {destination: far}, transfer_syntax: JPEG2000, j2k_cr: 50, lossy: {max_error: 1, beyond: hold}}
  - {name: quick, when: {destination: quick}, transfer_syntax: HTJ2KLossless, prove: none}
  - {name: rest, transfer_syntax: RLELossless}
destinations: {near: {folder: near}, far: {folder: far}, quick: {folder: quick}, plain: {folder: plain}}
routes: [{to: [near, far, quick, plain]}]
"""
NEAR = "1.2.840.10008.1.2.4.81"
HTJ2K = "1.2.840.10008.1.2.4.201"


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "venturi.yaml"
    path.write_text(CONFIG)
    return str(path)


def flat(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed, on one line: tables fold their cells."""
    return " ".join(capsys.readouterr().out.split())


def test_explain_measures_what_would_be_lost(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", MR, "-c", config]) == 0
    said = flat(capsys).partition(" -> near ")[2]
    near = said.partition(" -> far ")[0]
    far = said.partition(" -> far ")[2].partition(" -> quick ")[0]
    quick = said.partition(" -> quick ")[2].partition(" -> plain ")[0]
    plain = said.partition(" -> plain ")[2]
    assert "JPEGLSNearLossless: pixel data" in near
    assert "every error proven within its bound (no sample differs by more than 2, PSNR" in near
    assert "new SOP Instance UID 2.25." in near
    assert "because error-beyond-bound" in far
    assert "held: a person decides whether it is sent as received" in far
    assert "HTJ2KLossless" in quick
    assert "NOT PROVEN" in quick
    assert "every pixel proven equal" in plain
    assert "held" not in near + quick + plain


def test_explain_gives_the_same_as_json(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", MR, RLE, "-c", config, "--json"]) == 0
    for told in json.loads(capsys.readouterr().out):
        found = {one["decision"]["destination"]: one for one in told["destinations"]}
        lossy = found["near"]["outcome"]["lossy"]
        assert (found["near"]["outcome"]["proof"], lossy["max_error"]) == ("bound", 2)
        assert lossy["ratio"] > 1
        assert lossy["psnr_db"] > 60
        assert lossy["sop_instance_uid"].startswith("2.25.")
        assert (found["near"]["held"], found["plain"]["outcome"]["lossy"]) == (False, None)
        assert found["far"]["held"] == (
            told["file"] == MR
        )  # compressed input is not held, since on_failure is keep


def outcome(target: Target, proof: Proof, **more: Any) -> Outcome:
    return Outcome(target, str(target.transfer_syntax), 4000, "c" * 64, proof=proof, codec="x", frames=1,
                   pixel_bytes_before=8192, pixel_bytes_after=3500, **more)  # fmt: skip


LOSSY = Lossy("2.25.7", 2.34, 2, 51.25)
MADE = {
    "near": outcome(Target(NEAR), Proof.BOUND, lossy=LOSSY, detail="in words"),
    "far": Outcome(Target(HTJ2K), "1.2.840.10008.1.2.1", 9000, "a" * 64, Reason.ERROR_BOUND, "15, not 12", hold=True),
    "quick": outcome(Target(HTJ2K, (("prove", "none"),)), Proof.NONE),
    "plain": outcome(Target("1.2.840.10008.1.2.5"), Proof.PIXELS),
    "refused": replace(outcome(Target(NEAR, (("jls_error", 2),)), Proof.BOUND), lossy=replace(LOSSY, psnr_db=None)),
}  # fmt: skip


@pytest.fixture
def ledger(config: str) -> Iterator[Ledger]:
    """One instance with a delivery of each kind."""
    settings = load(Path(config))
    made = node.ledger_of(settings, migrate=True)
    envelope = Envelope(
        "1.2.840.10008.5.1.4.1.1.4", "1.2.3", "1.2.840.10008.1.2.1", "CT", "V", "ct", "::1", 1.0
    )
    of = Instance("1" * 32, "a" * 64, 9000, envelope)
    made.add([of])
    made.claim_instances("w", 1, 60)
    decisions = tuple(Decision(name, "a rule", one.target) for name, one in MADE.items())
    assert made.judge(Judgement(of, decisions, tuple(MADE.values())), "w")
    for name, sent_original in (("near", False), ("quick", False), ("plain", False), ("refused", True)):
        (job,) = made.claim_deliveries(name, "d", 1, 60)
        ended = Attempt(job.id, State.DELIVERED, 2.0, 0.1, "0000", sent_original=sent_original)
        made.record([ended], "d")
    yield made
    made.close()


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize(
    ("number", "words"),
    [
        (1, "every error proven within its bound"),
        (1, "no sample differs by more than 2, PSNR 51.2 dB, 2.34:1, new SOP Instance UID 2.25.7"),
        (1, "in words in words"),
        (2, "as received because error-beyond-bound"),
        (2, "15, not 12"),
        (2, "held by the rule, not sent as received"),
        (3, "NOT PROVEN: no pixel was compared"),
        (4, "every pixel proven equal"),
        (5, "nothing differs"),
        (5, "the original: the destination does not take what was encoded"),
    ],
)
def test_queue_show_says_how_it_is_known_to_be_right(
    config: str, capsys: pytest.CaptureFixture[str], number: int, words: str
) -> None:
    assert main(["queue", "show", str(number), "-c", config]) == 0
    assert words in flat(capsys)


@pytest.mark.usefixtures("ledger")
def test_queue_show_gives_the_same_as_json(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["queue", "show", "1", "-c", config, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["delivery"]
    lossy = {"sop_instance_uid": "2.25.7", "ratio": 2.34, "max_error": 2, "psnr_db": 51.25}
    assert (told["lossy"], told["proof"], told["sop_instance_uid"]) == (lossy, "bound", "1.2.3")


@pytest.mark.usefixtures("ledger")
def test_queue_ls_marks_what_is_lossy_and_what_is_not_proven(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["queue", "ls", "--state", "delivered", "-c", config]) == 0
    said = flat(capsys)
    for words in ("-56%, lossy", "-56%, not proven", "as received: not taken as JPEGLSNearLossless"):
        assert "".join(words.split()) in "".join(said.split())


@pytest.mark.usefixtures("ledger")
def test_queue_ls_finds_both_uids(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    def found(uid: str) -> set[str]:
        assert main(["queue", "ls", "--state", "all", "--sop", uid, "--json", "-c", config]) == 0
        return {row["destination"] for row in json.loads(capsys.readouterr().out)["deliveries"]}

    assert found("1.2.3") == set(MADE)
    assert found("2.25.7") == {"near", "refused"}
    assert found("1.2") == set()


@pytest.mark.usefixtures("ledger")
def test_status_counts_by_proof(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["status", "-c", config])
    said = flat(capsys)
    for words in (
        "JPEGLSNearLossless lossy, every error within its bound 2",
        "HTJ2KLossless transcoded, not proven 1",
        "RLELossless transcoded and proven 1",
        "ExplicitVRLittleEndian as received: error-beyond-bound 1",
    ):
        assert words in said
    main(["status", "-c", config, "--json"])
    told = json.loads(capsys.readouterr().out)
    assert {(one["name"], one["proof"]) for one in told["renditions"]} == {
        ("JPEGLSNearLossless", "bound"),
        ("HTJ2KLossless", "none"),
        ("RLELossless", "pixels"),
        ("ExplicitVRLittleEndian", "original"),
    }


def test_the_console_counts_by_proof(ledger: Ledger) -> None:
    glance = Glance(ledger.totals(), 0.5)
    page = render(glance)
    assert "lossy, every error within its bound" in page
    assert "57% saved" in page
    registry = CollectorRegistry(auto_describe=False)
    registry.register(LedgerCollector(lambda: glance))
    metrics = generate_latest(registry).decode()
    assert 'venturi_renditions{proof="none",reason="",syntax="HTJ2KLossless"} 1.0' in metrics
    assert "2.25.7" not in page + metrics


def test_the_page_says_so_where_decompressed_images_grow(ledger: Ledger) -> None:
    totals = replace(ledger.totals(), bytes_before=1000, bytes_after=3000)
    page = render(Glance(totals, 0.5))
    assert "200% more" in page
    assert "width:0%" in page


def test_every_proof_has_its_words() -> None:
    assert len({done("", proof) for proof in Proof if proof is not Proof.ORIGINAL}) == len(Proof) - 1


BAD = CONFIG.replace("prove: none", "codec: nobody")


def test_a_node_refuses_a_codec_that_is_not_there(config: str) -> None:
    Path(config).write_text(BAD)
    with pytest.raises(ConfigError, match=r"venturi\.yaml:7:\d+: HTJ2KLossless has no codec 'nobody'"):
        node.load_runnable(Path(config))
    ended = subprocess.run(
        [sys.executable, "-m", "venturi", "run", "-c", config], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "venturi.yaml:7:" in ended.stderr


@pytest.mark.parametrize("verb", [["check"], ["explain", MR]])
def test_verbs_refuse_a_codec_that_is_not_there(
    config: str, capsys: pytest.CaptureFixture[str], verb: list[str]
) -> None:
    Path(config).write_text(BAD)
    assert main([*verb, "-c", config]) == 2
    assert "has no codec 'nobody'" in capsys.readouterr().err
