"""Which elements change when native pixels are encoded without loss, and to what (PS3.5 8.2, A.4).

Everything else, the SOP Instance UID and the history of lossy compression included, stays byte for byte.
"""

import struct

from venturi.dataset.scan import PIXEL_DATA
from venturi.dataset.splice import encode_element
from venturi.transcode.codecs import Codec
from venturi.transcode.image import PHOTOMETRIC_INTERPRETATION, PLANAR_CONFIGURATION, Image

GROUP_LENGTH_IMAGE = 0x00280000
GROUP_LENGTH_PIXELS = 0x7FE00000
EXTENDED_OFFSET_TABLE = 0x7FE00001
EXTENDED_OFFSET_TABLE_LENGTHS = 0x7FE00002

MAY_CHANGE = frozenset(
    (
        GROUP_LENGTH_IMAGE,
        PHOTOMETRIC_INTERPRETATION,
        PLANAR_CONFIGURATION,
        GROUP_LENGTH_PIXELS,
        EXTENDED_OFFSET_TABLE,
        EXTENDED_OFFSET_TABLE_LENGTHS,
        PIXEL_DATA,
    )
)
"""Nothing but these may differ between an original and its lossless rendition."""


def changes(image: Image, codec: Codec, present: frozenset[int]) -> dict[int, bytes | None]:
    """Make the changes for ``splice``, Pixel Data aside; ``present`` are the tags the original has.

    Group lengths (retired, PS3.5 7.2) of the groups that change are left out, since they would lie; so are
    offset tables that would be of other pixels, and a Planar Configuration where there is one sample
    (C.7.6.3.1.3).
    """
    result: dict[int, bytes | None] = {}
    photometric = codec.photometric(image)
    if photometric != image.photometric:
        value = photometric.encode("ascii")
        result[PHOTOMETRIC_INTERPRETATION] = encode_element(PHOTOMETRIC_INTERPRETATION, "CS", value)
    planar = codec.planar(image)
    if planar is None and PLANAR_CONFIGURATION in present:
        result[PLANAR_CONFIGURATION] = None
    elif planar is not None and planar != image.planar:
        value = struct.pack("<H", planar)
        result[PLANAR_CONFIGURATION] = encode_element(PLANAR_CONFIGURATION, "US", value)
    if result:
        result[GROUP_LENGTH_IMAGE] = None
    for tag in (GROUP_LENGTH_PIXELS, EXTENDED_OFFSET_TABLE, EXTENDED_OFFSET_TABLE_LENGTHS):
        result[tag] = None
    return result
