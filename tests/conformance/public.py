"""Every public file to every output syntax: what becomes of it. Run with a folder, it counts anew.

The counts are committed beside this file: a change that transcodes fewer files must say so there.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pydicom.data import get_testdata_file

from venturi.dataset import syntaxes
from venturi.model import Target

COUNTS = Path(__file__).with_name("corpus_counts.json")
BUNDLED = Path(str(get_testdata_file("CT_small.dcm"))).parent

_FROM = ("from", ("lossless",))
_BOUND = (("lossy_also", ("MG",)), ("lossy_beyond", "as-received"), ("lossy_max_error", 1e6))


def _lossless(uid: str) -> Target:
    return Target(uid, (_FROM,))


def _lossy(uid: str, name: str, value: int | tuple[float, ...]) -> Target:
    return Target(uid, tuple(sorted((_FROM, *_BOUND, (name, value)))))


TARGETS = {
    str(syntaxes.lookup(target.transfer_syntax or "")): target
    for target in (
        Target(syntaxes.EXPLICIT_VR_LITTLE_ENDIAN),
        Target(syntaxes.IMPLICIT_VR_LITTLE_ENDIAN),
        _lossless(syntaxes.RLE_LOSSLESS),
        _lossless(syntaxes.JPEG_LOSSLESS_SV1),
        _lossless(syntaxes.JPEG_LS_LOSSLESS),
        _lossless(syntaxes.JPEG_2000_LOSSLESS),
        _lossless(syntaxes.HTJ2K_LOSSLESS),
        _lossless(syntaxes.HTJ2K_LOSSLESS_RPCL),
        _lossy(syntaxes.JPEG_BASELINE, "jpeg_quality", 90),
        _lossy(syntaxes.JPEG_LS_NEAR_LOSSLESS, "jls_error", 2),
        _lossy(syntaxes.JPEG_2000, "j2k_cr", (10.0,)),
        _lossy(syntaxes.HTJ2K, "j2k_psnr", (60.0,)),
    )
}
"""By keyword: every output syntax, with parameters where it needs some. Lossless input is encoded anew."""


def public_files(corpus: Path) -> Iterator[Path]:
    """Every file of the corpus, and those pydicom brings."""
    for folder in dict.fromkeys((corpus, BUNDLED)):
        yield from (path for path in sorted(folder.rglob("*")) if path.is_file())


def committed(corpus: Path) -> dict[str, dict[str, int]]:
    """The counts for a corpus: by keyword of the target, then by reason, or ``transcoded``."""
    counts: dict[str, dict[str, dict[str, int]]] = json.loads(COUNTS.read_text())
    return counts[which(corpus)]


def which(corpus: Path) -> str:
    """Under which name a corpus is counted."""
    return "bundled" if corpus == BUNDLED else "shared"


def main(corpora: list[str]) -> None:
    """Count anew."""
    import tempfile

    from venturi.transcode.engine import Engine

    result = {}
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "out.dcm"
        for corpus in (BUNDLED, *map(Path, corpora)):
            counted = {}
            for keyword, target in TARGETS.items():
                counter: Counter[str] = Counter()
                for path in public_files(corpus):
                    outcome = Engine().transcode(path, target, output)
                    counter[outcome.reason or "transcoded"] += 1
                    output.unlink(missing_ok=True)
                counted[keyword] = dict(sorted(counter.items()))
            result[which(corpus)] = counted
    COUNTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
