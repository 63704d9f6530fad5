"""What the documentation shows works: every rule and configuration in it loads."""

import re
from pathlib import Path

import pytest

from venturi.config.load import load
from venturi.config.targets import KEYS, TARGETS
from venturi.dataset import syntaxes
from venturi.node import known_codecs
from venturi.transcode.codecs import registry

PAGE = Path(__file__).parents[2] / "docs" / "transcoding.md"
FRAME = """\
peers: {here: {ae_title: "*", hosts: [127.0.0.1]}}
destinations: {main: {folder: ./main}, viewer: {folder: ./viewer}}
routes: [{to: [main, viewer]}]
rules:
"""
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
IN_CELLS = re.findall(r"`\{((?:from|transfer_syntax): .*?)\}`", PAGE.read_text())


def loaded(rules: str, folder: Path) -> tuple[str, ...]:
    path = folder / "venturi.yaml"
    path.write_text(FRAME + rules)
    return load(path, known_codecs).warnings


@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_of_rules_loads_without_a_warning(block: str, tmp_path: Path) -> None:
    assert loaded(block, tmp_path) == ()


@pytest.mark.parametrize("rule", IN_CELLS)
def test_every_rule_beside_what_pydicom_does_loads(rule: str, tmp_path: Path) -> None:
    warnings = loaded(f"- {{name: x, {rule}}}\n", tmp_path)
    expected = ("signed pixels", "under one SOP Instance UID")
    assert all(any(words in warning for words in expected) for warning in warnings)


def test_rules_were_found() -> None:
    assert len(BLOCKS) >= 3
    assert len(IN_CELLS) >= 12


def test_every_key_of_a_rule_is_explained() -> None:
    keys = {"transfer_syntax", "on_failure", *KEYS}
    assert keys <= set(re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE))


def test_the_page_says_of_every_syntax_whether_it_is_read_and_made() -> None:
    rows = {}
    for names, read, made in re.findall(
        r"^\| ([^|]+) \| (yes|no)[^|]* \| (yes|no)[^|]* \|$", PAGE.read_text(), re.M
    ):
        for name in re.findall(r"[A-Z]\w{4,}", names):
            rows[name] = (read == "yes", made == "yes")
    for syntax in syntaxes.BY_UID.values():
        read = syntax.native or registry().decoder(syntax.uid) is not None
        if read or str(syntax) in TARGETS:
            assert rows[str(syntax)] == (read, str(syntax) in TARGETS), syntax
        else:
            assert rows.get(str(syntax), (False, False)) == (False, False)
