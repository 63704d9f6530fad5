"""DCMTK as a second opinion on headers in explicit VR little endian: the same VRs, the same value bytes."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from venturi.dataset import part10
from venturi.dataset.explicit import explicit
from venturi.dataset.scan import EXPLICIT_LE, PIXEL_DATA, Element, encoding_of, items, scan
from venturi.dataset.syntaxes import lookup

pytestmark = pytest.mark.skipif(shutil.which("dcmconv") is None, reason="DCMTK is not installed")

NAMES = [
    "rtplan.dcm",
    "MR_small_implicit.dcm",
    "rtdose.dcm",
    "ExplVR_BigEnd.dcm",
    "MR_small_bigendian.dcm",
    "rtdose_expb.dcm",
    "liver_expb_1frame.dcm",
]

Leaf = tuple[tuple[int, ...], str, bytes]


def leaves(data: bytes, elements: list[Element], path: tuple[int, ...] = ()) -> Iterator[Leaf]:
    """All values that a public dictionary names, with the way to them."""
    for element in elements:
        if element.tag >> 16 & 1 or element.tag & 0xFFFF == 0 or element.tag == PIXEL_DATA:
            continue
        way = (*path, element.tag)
        if element.vr == "SQ":
            for index, (start, end, encoding) in enumerate(items(data, element, EXPLICIT_LE)):
                yield from leaves(data, list(scan(data, start, end, encoding)), (*way, index))
        else:
            yield way, element.vr, data[element.value : element.end]


@pytest.mark.parametrize("name", NAMES)
def test_dcmconv_writes_the_same_vrs_and_values(name: str, tmp_path: Path) -> None:
    found = get_testdata_file(name, download=False)
    if found is None:
        pytest.skip(f"{name} is not bundled")
    path, theirs = Path(str(found)), tmp_path / "theirs.dcm"
    with path.open("rb") as file:
        meta, _ = part10.read(file)
        data = file.read()
    encoding = encoding_of(lookup(meta.transfer_syntax))
    elements = [element for element in scan(data, encoding=encoding) if element.tag != PIXEL_DATA]
    ours = explicit(data, elements, encoding)
    subprocess.run(["dcmconv", "+te", "-g", str(path), str(theirs)], check=True, timeout=60)
    with theirs.open("rb") as file:
        part10.read(file)
        written = file.read()
    assert list(leaves(ours, list(scan(ours)))) == list(leaves(written, list(scan(written))))
