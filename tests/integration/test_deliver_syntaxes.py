"""A peer that refuses a syntax gets another rendition, made by a worker; what it accepts is remembered, and said."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.pixels import pixel_array

from integration.nodes import Node, config_text, running
from integration.peers import free_port, orthanc, run, sample, storescp
from venturi.dataset.syntaxes import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_LS_LOSSLESS,
    RLE_LOSSLESS,
)
from venturi.ledger.port import Filter, Verb
from venturi.ledger.sql import open_ledger

AS_RECEIVED = "  - name: the rest\n    transfer_syntax: as-received\n"
JPEG_LS = "  - name: grey\n    from: lossless\n    transfer_syntax: JPEGLSLossless\n"
LOSSY = (
    "  - name: telerad\n    when: {destination: pacs}\n    transfer_syntax: JPEG2000\n    j2k_cr: [10]\n"
    "    lossy: {max_error: 4000}\n"
)
DEFLATED = "1.2.840.10008.1.2.1.99"
CLASSES = ("CTImageStorage", "MRImageStorage", "SecondaryCaptureImageStorage", "BasicTextSRStorage")
PEER = "  pacs: {{ae_title: ANY-SCP, host: 127.0.0.1, port: {port}}}"


def profile(folder: Path, *syntaxes: str) -> tuple[str, ...]:
    """Options of a storescp that accepts these transfer syntaxes alone, for the classes above."""
    lines = ["[[TransferSyntaxes]]", "[Only]"]
    lines += [f"TransferSyntax{number} = {uid}" for number, uid in enumerate(syntaxes, 1)]
    lines += ["[[PresentationContexts]]", "[Contexts]"]
    names = ("VerificationSOPClass", *CLASSES)
    lines += [f"PresentationContext{number} = {name}\\Only" for number, name in enumerate(names, 1)]
    lines += ["[[Profiles]]", "[Default]", "PresentationContexts = Contexts"]
    path = folder / f"profile-{len(list(folder.glob('profile-*')))}.cfg"
    path.write_text("\n".join(lines) + "\n")
    return "-xf", str(path), "Default"


@contextlib.contextmanager
def sending_to(
    folder: Path, options: Sequence[str], rules: str = AS_RECEIVED, port: int | None = None
) -> Iterator[tuple[Node, Path]]:
    """A node that sends all to a storescp with these options; and the peer's folder."""
    with storescp(folder / "peer", "+B", *options, port=port) as listens:
        text = config_text(
            rules=rules,
            peers=PEER.format(port=listens),
            destinations="  pacs: {dicom: pacs}",
            to=", pacs",
        )
        with running(folder, text) as node:
            yield node, folder / "peer"


def send(node: Node, *paths: Path) -> None:
    """Send files to the node as they are: dcmsend would convert uncompressed ones, storescu proposes no more than it is
    told.
    """
    for path in paths:
        syntax = pydicom.filereader.read_file_meta_info(path).TransferSyntaxUID
        option = {IMPLICIT_VR_LITTLE_ENDIAN: "-xi", EXPLICIT_VR_BIG_ENDIAN: "-xb", DEFLATED: "-xd"}.get(
            syntax
        )
        where = ("-aec", "VENTURI", "127.0.0.1", str(node.port), path)
        sent = run("storescu", "-R", option, *where) if option else run("dcmsend", "-dn", *where)
        assert sent.returncode == 0, sent.stderr + sent.stdout


def rows(node: Node, destination: str = "pacs") -> list[dict[str, Any]]:
    return [row for row in node.deliveries() if row["destination"] == destination]


def arrived(node: Node, count: int = 1, destination: str = "pacs") -> list[dict[str, Any]]:
    """Wait until so many are delivered there."""

    def done() -> bool:
        return sum(row["state"] == "delivered" for row in rows(node, destination)) >= count

    node.until(done, 90)
    return rows(node, destination)


def history(node: Node, delivery: int) -> list[dict[str, Any]]:
    said = node.command("queue show", str(delivery), "--json")
    found: list[dict[str, Any]] = json.loads(said.stdout)["attempts"]
    return found


def got(folder: Path) -> list[pydicom.FileDataset]:
    return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]


def same_pixels(source: Path, result: pydicom.Dataset) -> bool:
    """Whether both have the same stored values, as pydicom decodes them."""
    return bool(np.array_equal(pixel_array(pydicom.dcmread(source), raw=True), pixel_array(result, raw=True)))


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("CT_small.dcm", IMPLICIT_VR_LITTLE_ENDIAN),
        ("MR_small_RLE.dcm", IMPLICIT_VR_LITTLE_ENDIAN),
        ("MR_small_RLE.dcm", EXPLICIT_VR_LITTLE_ENDIAN),
        ("MR_small_jp2klossless.dcm", EXPLICIT_VR_LITTLE_ENDIAN),
        ("MR_small_implicit.dcm", EXPLICIT_VR_LITTLE_ENDIAN),
        ("MR_small_bigendian.dcm", IMPLICIT_VR_LITTLE_ENDIAN),
        ("image_dfl.dcm", IMPLICIT_VR_LITTLE_ENDIAN),
        ("SC_rgb_rle.dcm", EXPLICIT_VR_LITTLE_ENDIAN),
    ],
)
def test_a_peer_that_takes_one_uncompressed_syntax_gets_that(
    name: str, taken: str, tmp_path: Path, corpus: Path
) -> None:
    source = sample(corpus, name)
    with sending_to(tmp_path, profile(tmp_path, taken)) as (node, peer):
        send(node, source)
        (row,) = arrived(node)
        (archived,) = arrived(node, destination="archive")
        assert [attempt["status"] for attempt in history(node, row["id"])] == ["no-context", "0000"]
        assert len(history(node, archived["id"])) == 1, "the other delivery was disturbed"
    (result,) = got(peer)
    assert result.file_meta.TransferSyntaxUID == taken
    assert result.SOPInstanceUID == pydicom.dcmread(source).SOPInstanceUID
    assert same_pixels(source, result)
    assert row["source_syntax"] == pydicom.dcmread(source).file_meta.TransferSyntaxUID
    assert row["transfer_syntax"] == taken
    assert row["proof"] == "pixels"
    assert "of this SOP class" in row["instead"]
    assert archived["instead"] == ""
    assert archived["reason"] == "as-received"


def test_the_next_object_is_made_right_at_once(tmp_path: Path, corpus: Path) -> None:
    first, second = sample(corpus, "MR_small_RLE.dcm"), sample(corpus, "MR_small_jp2klossless.dcm")
    with sending_to(tmp_path, ["+xi"], JPEG_LS) as (node, peer):
        send(node, first)
        arrived(node)
        send(node, first, first)
        done = arrived(node, 3)
        assert [len(history(node, row["id"])) for row in done] == [2, 1, 1]
        send(node, second)  # whose own syntax is not known to be refused yet
        done = arrived(node, 4)
        assert [attempt["status"] for attempt in history(node, done[3]["id"])][-1] == "0000"
        archive = arrived(node, 4, "archive")
    assert {row["transfer_syntax"] for row in done} == {IMPLICIT_VR_LITTLE_ENDIAN}
    assert {row["transfer_syntax"] for row in archive} == {JPEG_LS_LOSSLESS}
    assert all(same_pixels(first, result) for result in got(peer))


def test_a_report_goes_too(tmp_path: Path, corpus: Path) -> None:
    source = sample(corpus, "reportsi.dcm")
    with sending_to(tmp_path, ["+xi"], JPEG_LS) as (node, peer):
        send(node, source)
        (row,) = arrived(node)
    (result,) = got(peer)
    before = pydicom.dcmread(source)
    assert result.file_meta.TransferSyntaxUID == IMPLICIT_VR_LITTLE_ENDIAN
    assert result.ContentSequence == before.ContentSequence
    assert "no-pixel-data, and it takes no ExplicitVRLittleEndian" in row["instead"]


def damaged(source: Path, folder: Path) -> Path:
    """The same image with a codestream that can't be decoded."""
    dataset = pydicom.dcmread(source)
    data = bytearray(dataset.PixelData)
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    dataset.PixelData = bytes(data)
    dataset.save_as(folder / "damaged.dcm")
    return folder / "damaged.dcm"


def test_what_cannot_be_decoded_is_held_with_its_reason(tmp_path: Path, corpus: Path) -> None:
    source = damaged(sample(corpus, "MR_small_RLE.dcm"), tmp_path)
    with sending_to(tmp_path, ["+xi"]) as (node, peer):
        send(node, source)
        node.until(lambda: any(row["state"] == "held" and row["tries"] >= 3 for row in rows(node)), 90)
        (row,) = rows(node)
        statuses = [attempt["status"] for attempt in history(node, row["id"])]
        listed = node.command("queue ls").stdout
    assert (row["status"], set(statuses)) == ("no-context", {"no-context"})
    assert "RLELossless, ExplicitVRLittleEndian, ImplicitVRLittleEndian" in row["detail"]
    assert "accepted: ImplicitVRLittleEndian" in row["detail"]
    assert "ImplicitVRLittleEndian was not made of it: " in row["detail"]
    assert "no-context" in listed
    assert got(peer) == []


def test_what_the_peer_takes_of_nothing_is_held(tmp_path: Path, corpus: Path) -> None:
    source = sample(corpus, "MR_small_RLE.dcm")
    with sending_to(tmp_path, profile(tmp_path, JPEG_2000_LOSSLESS)) as (node, _):
        send(node, source)
        node.until(lambda: any(row["state"] == "held" for row in rows(node)), 90)
        (row,) = rows(node)
        assert row["status"] == "no-context"
        assert "accepted: none of them" in row["detail"]
        shown = node.command("echo", "pacs").stdout
    assert "MR Image Storage" in shown


def test_a_lossy_rendition_that_is_refused_becomes_nothing_else_in_silence(
    tmp_path: Path, corpus: Path
) -> None:
    source = sample(corpus, "MR_small.dcm")
    with sending_to(tmp_path, profile(tmp_path, IMPLICIT_VR_LITTLE_ENDIAN), LOSSY) as (node, peer):
        send(node, source)
        (row,) = arrived(node)
        shown = " ".join(node.command("queue show", str(row["id"])).stdout.split())
    assert "it takes no JPEG2000 and no ExplicitVRLittleEndian of this SOP class" in row["instead"]
    assert row["instead"].endswith("ImplicitVRLittleEndian instead; not lossy, as the rule asks")
    assert "not by the rule" in shown
    assert row["lossy"] is None
    (result,) = got(peer)
    assert result.SOPInstanceUID == pydicom.dcmread(source).SOPInstanceUID
    assert same_pixels(source, result)


def test_a_lossy_rendition_that_is_taken_stays_lossy(tmp_path: Path, corpus: Path) -> None:
    source = sample(corpus, "MR_small.dcm")
    with sending_to(tmp_path, profile(tmp_path, JPEG_2000, IMPLICIT_VR_LITTLE_ENDIAN), LOSSY) as (node, peer):
        send(node, source)
        (row,) = arrived(node)
    assert row["lossy"] is not None
    assert row["instead"] == ""
    assert [result.file_meta.TransferSyntaxUID for result in got(peer)] == [JPEG_2000]


def test_what_must_not_be_lossy_goes_without_loss_where_the_lossless_syntax_is_refused(
    tmp_path: Path, corpus: Path
) -> None:
    source = sample(corpus, "CT_small.dcm")  # has padding pixels, which no loss may touch
    with sending_to(tmp_path, profile(tmp_path, JPEG_2000, IMPLICIT_VR_LITTLE_ENDIAN), LOSSY) as (node, peer):
        send(node, source)
        (row,) = arrived(node)
    assert row["instead"].startswith("it takes no JPEG2000Lossless and no ExplicitVRLittleEndian")
    (result,) = got(peer)
    assert same_pixels(source, result)


def test_what_a_person_holds_stays_held(tmp_path: Path, corpus: Path) -> None:
    port, other = free_port(), free_port()
    text = config_text(
        rules=AS_RECEIVED,
        peers=PEER.format(port=port) + "\n" + PEER.format(port=other).replace("pacs", "other"),
        destinations="  pacs: {dicom: pacs}\n  other: {dicom: other}",
        to=", pacs, other",
    )
    with running(tmp_path, text) as node:
        send(node, sample(corpus, "CT_small.dcm"))
        node.until(lambda: len(node.deliveries()) == 3, 60)
        ledger = open_ledger(f"sqlite:///{tmp_path / 'data' / 'ledger.db'}", migrate=False)
        try:
            node.until(lambda: ledger.act(Verb.HOLD, Filter(destination="other"), "test") == 1, 30)
        finally:
            ledger.close()
        with storescp(tmp_path / "peer", "+B", "+xi", port=port):
            (row,) = arrived(node)
        (held,) = rows(node, "other")
    assert row["transfer_syntax"] == IMPLICIT_VR_LITTLE_ENDIAN
    assert (held["state"], held["status"]) == ("held", "by-hand")


def test_echo_and_explain_say_what_was_learnt(tmp_path: Path, corpus: Path) -> None:
    source, port = sample(corpus, "MR_small_RLE.dcm"), free_port()
    text = config_text(
        rules=JPEG_LS, peers=PEER.format(port=port), destinations="  pacs: {dicom: pacs}", to=", pacs"
    )
    never_ran = Node(tmp_path, text)
    said = never_ran.command("explain", str(source))
    assert said.returncode == 0
    assert "not by the rule" not in said.stdout
    assert never_ran.command("echo", "pacs").stdout.count("\n") == 1, "nothing but the answer"
    assert json.loads(never_ran.command("echo", "pacs", "--json").stdout)["acceptances"] == []
    with storescp(tmp_path / "nobody", "+B", port=port):
        assert never_ran.command("echo", "pacs", "--renew").returncode == 0, "there is nothing to ask"
    with sending_to(tmp_path, ["+xi"], JPEG_LS) as (node, _):
        send(node, source)
        arrived(node)
        echoed = node.command("echo", "pacs")
        found = json.loads(node.command("echo", "pacs", "--json").stdout)
        explained = " ".join(node.command("explain", str(source)).stdout.split())
        (fields,) = json.loads(node.command("explain", str(source), "--json").stdout)
    assert echoed.returncode == 0
    assert "MR Image Storage" in echoed.stdout
    assert found["echo"]["ok"] is True
    assert {(each["transfer_syntax"], each["accepted"]) for each in found["acceptances"]} == {
        (RLE_LOSSLESS, False),
        (JPEG_LS_LOSSLESS, False),
        (EXPLICIT_VR_LITTLE_ENDIAN, False),
        (IMPLICIT_VR_LITTLE_ENDIAN, True),
    }
    assert "not by the rule: it takes no JPEGLSLossless and no RLELossless of this SOP class" in explained
    by_name = {each["decision"]["destination"]: each for each in fields["destinations"]}
    assert by_name["pacs"]["outcome"]["transfer_syntax"] == IMPLICIT_VR_LITTLE_ENDIAN
    assert by_name["pacs"]["decision"]["instead"]
    assert by_name["archive"]["outcome"]["transfer_syntax"] == JPEG_LS_LOSSLESS


def test_a_peer_that_was_changed_is_asked_again(tmp_path: Path, corpus: Path) -> None:
    port = free_port()
    text = config_text(
        rules=AS_RECEIVED, peers=PEER.format(port=port), destinations="  pacs: {dicom: pacs}", to=", pacs"
    )
    one, other = sample(corpus, "MR_small_RLE.dcm"), tmp_path / "other.dcm"
    dataset = pydicom.dcmread(one)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.826.0.1.3680043.8.498.77"
    dataset.save_as(other)
    with running(tmp_path, text) as node:
        with storescp(tmp_path / "before", "+B", "+xi", port=port):
            send(node, one)
            (row,) = arrived(node)
        assert row["transfer_syntax"] == IMPLICIT_VR_LITTLE_ENDIAN
        with storescp(tmp_path / "after", "+B", "+xa", port=port):
            said = node.command("echo", "pacs", "--renew")
            found = json.loads(node.command("echo", "pacs", "--json").stdout)["acceptances"]
            assert got(tmp_path / "after") == [], "nothing is sent to find out"
            send(node, other)
            arrived(node, 2)
        unreachable = node.command("echo", "pacs", "--renew")
        kept = json.loads(node.command("echo", "pacs", "--json").stdout)["acceptances"]
    assert said.returncode == 0
    assert {each["transfer_syntax"]: each["accepted"] for each in found} == {
        RLE_LOSSLESS: True,
        EXPLICIT_VR_LITTLE_ENDIAN: True,
        IMPLICIT_VR_LITTLE_ENDIAN: True,
    }
    (result,) = got(tmp_path / "after")
    assert result.file_meta.TransferSyntaxUID == RLE_LOSSLESS
    assert unreachable.returncode == 1
    assert {each["accepted"] for each in kept} == {True}, "no answer is no refusal"


def test_a_group_gets_what_its_members_take(tmp_path: Path, corpus: Path) -> None:
    source = sample(corpus, "MR_small_RLE.dcm")
    with (
        storescp(tmp_path / "first", "+B", "+xi") as one,
        storescp(tmp_path / "second", "+B", "+xa") as two,
    ):
        text = config_text(
            rules=AS_RECEIVED,
            peers=PEER.format(port=one) + "\n" + PEER.format(port=two).replace("pacs", "other"),
            destinations="  one: {dicom: pacs}\n  two: {dicom: other}\n  pacs: {first_of: [one, two]}",
            to=", pacs",
        )
        with running(tmp_path, text) as node:
            send(node, source)
            (row,) = arrived(node)
            said = node.command("echo", "pacs").stdout
    assert row["detail"].startswith("one")
    assert "one" in said
    (result,) = got(tmp_path / "first")
    assert result.file_meta.TransferSyntaxUID == IMPLICIT_VR_LITTLE_ENDIAN
    assert same_pixels(source, result)


def test_orthanc_that_takes_no_compression_gets_none(tmp_path: Path, corpus: Path) -> None:
    source = sample(corpus, "MR_small_RLE.dcm")
    import urllib.request

    with orthanc(tmp_path / "orthanc", AcceptedTransferSyntaxes=["1.2.840.10008.1.2.1"]) as (dicom, http):
        text = config_text(
            rules=JPEG_LS,
            peers=PEER.format(port=dicom).replace("ANY-SCP", "ORTHANC"),
            destinations="  pacs: {dicom: pacs}",
            to=", pacs",
        )
        with running(tmp_path, text) as node:
            send(node, source)
            arrived(node)
        base = f"http://127.0.0.1:{http}/instances"
        with urllib.request.urlopen(base, timeout=10) as answer:
            (number,) = json.load(answer)
        with urllib.request.urlopen(f"{base}/{number}/file", timeout=10) as answer:
            (tmp_path / "back.dcm").write_bytes(answer.read())
    result = pydicom.dcmread(tmp_path / "back.dcm")
    assert result.file_meta.TransferSyntaxUID == EXPLICIT_VR_LITTLE_ENDIAN
    assert same_pixels(source, result)
