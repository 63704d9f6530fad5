"""Which elements change in a rendition, and to what (PS3.5 8.2, A.4; transfer of the table "what must change").

Everything else, the SOP Instance UID and the history of lossy compression of a lossless rendition included,
stays byte for byte.
"""

import struct

from venturi.dataset.scan import PIXEL_DATA
from venturi.dataset.splice import encode_element
from venturi.model import Lossy
from venturi.transcode import lossy as lossy_part
from venturi.transcode.codecs.contract import Encoder, Options
from venturi.transcode.image import PHOTOMETRIC_INTERPRETATION, PLANAR_CONFIGURATION, Image
from venturi.transcode.lossy import Derivation
from venturi.transcode.original import Original

LENGTH_TO_END = 0x00080001
STALE = (0x7FE00001, 0x7FE00002, 0x7FE00003)
"""Extended offset table, its lengths, Encapsulated Pixel Data Value Total Length: of other pixels than the new."""

_ALWAYS = frozenset(
    (
        *(LENGTH_TO_END, PHOTOMETRIC_INTERPRETATION, PLANAR_CONFIGURATION, *STALE, PIXEL_DATA),
        *(group << 16 for group in (0x0008, 0x0028, 0x7FE0)),
    )
)


def may_change(encoder: Encoder) -> frozenset[int]:
    """Nothing but these may differ between an original and its rendition."""
    return _ALWAYS | lossy_part.CHANGED if encoder.lossy else _ALWAYS


def changes(
    original: Original,
    image: Image,
    encoder: Encoder,
    options: Options,
    derivation: Derivation | None = None,
    lossy: Lossy | None = None,
) -> dict[int, bytes | None]:
    """Make the changes for ``splice``, Pixel Data and new offset tables aside.

    Group lengths (retired, PS3.5 7.2) of the groups that change are left out, since they would lie; so are Length to
    End, offset tables of other pixels, and a Planar Configuration where there is one sample (C.7.6.3.1.3).
    """
    present = original.values
    result: dict[int, bytes | None] = dict.fromkeys((LENGTH_TO_END, *STALE))
    photometric = encoder.photometric(image, options)
    if photometric != present.code(PHOTOMETRIC_INTERPRETATION, "PhotometricInterpretation"):
        value = photometric.encode("ascii")
        result[PHOTOMETRIC_INTERPRETATION] = encode_element(PHOTOMETRIC_INTERPRETATION, "CS", value)
    planar = encoder.planar(image)
    if planar is None:
        result[PLANAR_CONFIGURATION] = None
    elif PLANAR_CONFIGURATION not in present or planar != present.number(
        PLANAR_CONFIGURATION, "PlanarConfiguration"
    ):
        value = struct.pack("<H", planar)
        result[PLANAR_CONFIGURATION] = encode_element(PLANAR_CONFIGURATION, "US", value)
    if derivation is not None:
        result |= lossy_part.bookkeeping(original, encoder, derivation, lossy)
    changed = {tag for tag, new in result.items() if new is not None or tag in present}
    for group in {tag >> 16 for tag in changed} | {0x7FE0}:
        result[group << 16] = None
    return result
