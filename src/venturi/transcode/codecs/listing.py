"""What is read and made here, as plain rows for people: ours, and what other packages add."""

from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import cast

from venturi.dataset.syntaxes import BY_UID
from venturi.transcode.codecs import GROUP, OURS, registry
from venturi.transcode.codecs.contract import Decoder, Encoder
from venturi.transcode.port import CodecRow


def rows() -> list[CodecRow]:
    """All codecs; the first that makes a syntax is its default. Raises ConfigError for a package that is broken."""
    registry()  # says whose fault it is, where one can't be loaded
    found = [row for codec in OURS for row in _rows(codec, "")]
    native = (uid for uid, syntax in BY_UID.items() if syntax.native)
    found += [CodecRow(uid, encodes=False) for uid in native]
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        package = point.dist.name if point.dist else point.name
        found += [row for codec in point.load()() for row in _rows(codec, package)]
    return found


def _rows(codec: Encoder | Decoder, package: str) -> Iterator[CodecRow]:
    if not hasattr(codec, "encode"):
        for uid in sorted(codec.transfer_syntaxes):
            yield CodecRow(uid, encodes=False, libraries=codec.libraries, package=package)
        return
    encoder = cast("Encoder", codec)
    yield CodecRow(
        encoder.transfer_syntax,
        encodes=True,
        name=encoder.name,
        libraries=encoder.libraries,
        lossy=encoder.lossy,
        takes=tuple(sorted(encoder.takes)),
        package=package,
    )
