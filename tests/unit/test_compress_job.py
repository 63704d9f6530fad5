"""What becomes of a file that is to be compressed, whatever it is."""

from dataclasses import replace
from pathlib import Path

import pytest

from renditions import bundled, config_file
from venturi import node
from venturi.config.load import load
from venturi.dataset import syntaxes
from venturi.model import Reason, Target
from venturi.transcode.compress import Compressing
from venturi.transcode.engine import Engine
from venturi.transcode.messages import Work
from venturi.transcode.port import Compress, Compressed
from venturi.transcode.sandbox import limits

CT = bundled("CT_small.dcm")
JPEG_LS = Target(syntaxes.JPEG_LS_LOSSLESS)


def compress(
    source: Path, folder: Path, target: Target | None, rule: str = "", deaths: str = ""
) -> tuple[Compressed, Path]:
    """The answer, and where the output is or should not be."""
    config = load(config_file(folder, rule), node.known_codecs) if rule else None
    output = folder / "output.part"
    job = Compress("1", str(source), str(output), source.stat().st_size, target, "archive")
    return Compressing(config, Engine()).compress(Work(job, limits(job.size_bytes), deaths)), output


def test_it_becomes_a_rendition(tmp_path: Path) -> None:
    answer, output = compress(CT, tmp_path, JPEG_LS)
    assert answer.outcome.transcoded
    assert output.stat().st_size < CT.stat().st_size


def test_by_the_rules_of_a_configuration(tmp_path: Path) -> None:
    answer, _ = compress(CT, tmp_path, None, "when: {destination: archive}\ntransfer_syntax: RLELossless")
    assert (answer.rule, answer.outcome.transfer_syntax) == ("the rule", syntaxes.RLE_LOSSLESS)


def test_what_no_rule_is_for_is_copied(tmp_path: Path) -> None:
    answer, output = compress(CT, tmp_path, None, "when: {Modality: US}\ntransfer_syntax: RLELossless")
    assert (answer.rule, answer.outcome.reason) == ("(default)", Reason.ASKED)
    assert output.read_bytes() == CT.read_bytes()


@pytest.mark.parametrize("name", ["reportsi.dcm", "JPEG2000.dcm"])
def test_what_can_not_be_transcoded_is_copied_whole(tmp_path: Path, name: str) -> None:
    answer, output = compress(bundled(name), tmp_path, JPEG_LS)
    assert not answer.outcome.transcoded
    assert output.read_bytes() == bundled(name).read_bytes()


def test_what_a_rule_holds_has_no_output(tmp_path: Path) -> None:
    answer, output = compress(
        bundled("JPEG2000.dcm"), tmp_path, None, "transfer_syntax: RLELossless\non_failure: hold"
    )
    assert answer.outcome.hold
    assert not output.exists()


def test_what_has_ended_workers_is_copied_and_not_read(tmp_path: Path) -> None:
    answer, output = compress(CT, tmp_path, None, deaths="it ended two workers")
    assert (answer.outcome.reason, answer.outcome.detail) == (Reason.WORKER_DIED, "it ended two workers")
    assert output.read_bytes() == CT.read_bytes()


def test_what_is_no_image_at_all_is_copied(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no image")
    for target, rule in ((JPEG_LS, ""), (None, "transfer_syntax: RLELossless")):
        answer, output = compress(text, tmp_path, target, rule)
        assert not answer.outcome.transcoded
        assert output.read_text() == "no image"
        output.unlink()


def test_a_source_that_is_gone_leaves_nothing(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no image")
    job = Compress("1", str(tmp_path / "gone"), str(tmp_path / "out.part"), 1, JPEG_LS)
    for target in (JPEG_LS, Target()):
        with pytest.raises(FileNotFoundError):
            Compressing(None, Engine()).compress(Work(replace(job, target=target), limits(1)))
    assert not (tmp_path / "out.part").exists()
