"""Our own table of transfer syntaxes (PS3.5 Annex A, PS3.6 A): pydicom 3.0.2 does not know the newest ones.

A syntax that is not in the table can still be received, kept and forwarded byte for byte: ``lookup`` answers with
an entry that says it is unknown.
"""

from dataclasses import dataclass
from enum import StrEnum


class Family(StrEnum):
    """What kind of coding a transfer syntax uses for Pixel Data."""

    NATIVE = "native"
    RLE = "rle"
    JPEG = "jpeg"
    JPEG_LS = "jpeg-ls"
    JPEG_2000 = "jpeg-2000"
    HTJ2K = "htj2k"
    JPEG_XL = "jpeg-xl"
    DEFLATED_FRAME = "deflated-frame"
    VIDEO = "video"
    REFERENCED = "referenced"
    """JPIP: the pixels are elsewhere."""
    UNKNOWN = "unknown"
    """Private, or newer than this table."""


@dataclass(frozen=True, slots=True)
class Syntax:
    """One transfer syntax: how its dataset is encoded and what its pixels are."""

    uid: str
    keyword: str
    family: Family
    lossy: bool = False
    """Whether pixels encoded so may differ from the source's ("may be lossy" counts as lossy)."""
    implicit_vr: bool = False
    big_endian: bool = False
    deflated: bool = False

    @property
    def native(self) -> bool:
        """Whether Pixel Data is unencapsulated (PS3.5 8.1)."""
        return self.family is Family.NATIVE

    def __str__(self) -> str:
        return self.keyword or self.uid


_TABLE = (
    Syntax("1.2.840.10008.1.2", "ImplicitVRLittleEndian", Family.NATIVE, implicit_vr=True),
    Syntax("1.2.840.10008.1.2.1", "ExplicitVRLittleEndian", Family.NATIVE),
    Syntax("1.2.840.10008.1.2.1.98", "EncapsulatedUncompressedExplicitVRLittleEndian", Family.UNKNOWN),
    Syntax("1.2.840.10008.1.2.1.99", "DeflatedExplicitVRLittleEndian", Family.NATIVE, deflated=True),
    Syntax("1.2.840.10008.1.2.2", "ExplicitVRBigEndian", Family.NATIVE, big_endian=True),
    Syntax("1.2.840.10008.1.2.4.50", "JPEGBaseline8Bit", Family.JPEG, lossy=True),
    Syntax("1.2.840.10008.1.2.4.51", "JPEGExtended12Bit", Family.JPEG, lossy=True),
    Syntax("1.2.840.10008.1.2.4.57", "JPEGLossless", Family.JPEG),
    Syntax("1.2.840.10008.1.2.4.70", "JPEGLosslessSV1", Family.JPEG),
    Syntax("1.2.840.10008.1.2.4.80", "JPEGLSLossless", Family.JPEG_LS),
    Syntax("1.2.840.10008.1.2.4.81", "JPEGLSNearLossless", Family.JPEG_LS, lossy=True),
    Syntax("1.2.840.10008.1.2.4.90", "JPEG2000Lossless", Family.JPEG_2000),
    Syntax("1.2.840.10008.1.2.4.91", "JPEG2000", Family.JPEG_2000, lossy=True),
    Syntax("1.2.840.10008.1.2.4.92", "JPEG2000MCLossless", Family.JPEG_2000),
    Syntax("1.2.840.10008.1.2.4.93", "JPEG2000MC", Family.JPEG_2000, lossy=True),
    Syntax("1.2.840.10008.1.2.4.94", "JPIPReferenced", Family.REFERENCED),
    Syntax("1.2.840.10008.1.2.4.95", "JPIPReferencedDeflate", Family.REFERENCED, deflated=True),
    Syntax("1.2.840.10008.1.2.4.100", "MPEG2MPML", Family.VIDEO, lossy=True),
    Syntax("1.2.840.10008.1.2.4.100.1", "MPEG2MPMLF", Family.VIDEO, lossy=True),
    Syntax("1.2.840.10008.1.2.4.101", "MPEG2MPHL", Family.VIDEO, lossy=True),
    Syntax("1.2.840.10008.1.2.4.101.1", "MPEG2MPHLF", Family.VIDEO, lossy=True),
    Syntax("1.2.840.10008.1.2.4.102", "MPEG4HP41", Family.VIDEO, lossy=True),
    Syntax("1.2.840.10008.1.2.4.102.1", "MPEG4HP41F", Family.VIDEO, lossy=True),
    Syntax("1.2.840.10008.1.2.4.103", "MPEG4HP41BD", Family.VIDEO, lossy=True),
    Syntax("1.2.840.10008.1.2.4.103.1", "MPEG4HP41BDF", Family.VIDEO, lossy=True),
    Syntax("1.2.840.10008.1.2.4.104", "MPEG4HP422D", Family.VIDEO, lossy=True),
    Syntax("1.2.840.10008.1.2.4.104.1", "MPEG4HP422DF", Family.VIDEO, lossy=True),
    Syntax("1.2.840.10008.1.2.4.105", "MPEG4HP423D", Family.VIDEO, lossy=True),
    Syntax("1.2.840.10008.1.2.4.105.1", "MPEG4HP423DF", Family.VIDEO, lossy=True),
    Syntax("1.2.840.10008.1.2.4.106", "MPEG4HP42STEREO", Family.VIDEO, lossy=True),
    Syntax("1.2.840.10008.1.2.4.106.1", "MPEG4HP42STEREOF", Family.VIDEO, lossy=True),
    Syntax("1.2.840.10008.1.2.4.107", "HEVCMP51", Family.VIDEO, lossy=True),
    Syntax("1.2.840.10008.1.2.4.108", "HEVCM10P51", Family.VIDEO, lossy=True),
    Syntax("1.2.840.10008.1.2.4.110", "JPEGXLLossless", Family.JPEG_XL),
    Syntax("1.2.840.10008.1.2.4.111", "JPEGXLJPEGRecompression", Family.JPEG_XL, lossy=True),
    Syntax("1.2.840.10008.1.2.4.112", "JPEGXL", Family.JPEG_XL, lossy=True),
    Syntax("1.2.840.10008.1.2.4.201", "HTJ2KLossless", Family.HTJ2K),
    Syntax("1.2.840.10008.1.2.4.202", "HTJ2KLosslessRPCL", Family.HTJ2K),
    Syntax("1.2.840.10008.1.2.4.203", "HTJ2K", Family.HTJ2K, lossy=True),
    Syntax("1.2.840.10008.1.2.4.204", "JPIPHTJ2KReferenced", Family.REFERENCED),
    Syntax("1.2.840.10008.1.2.4.205", "JPIPHTJ2KReferencedDeflate", Family.REFERENCED, deflated=True),
    Syntax("1.2.840.10008.1.2.5", "RLELossless", Family.RLE),
    Syntax("1.2.840.10008.1.2.8.1", "DeflatedImageFrameCompression", Family.DEFLATED_FRAME),
)

BY_UID = {syntax.uid: syntax for syntax in _TABLE}
BY_KEYWORD = {syntax.keyword: syntax for syntax in _TABLE}

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"
RLE_LOSSLESS = "1.2.840.10008.1.2.5"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.57"
JPEG_LOSSLESS_SV1 = "1.2.840.10008.1.2.4.70"
JPEG_LS_LOSSLESS = "1.2.840.10008.1.2.4.80"
JPEG_LS_NEAR_LOSSLESS = "1.2.840.10008.1.2.4.81"
JPEG_2000_LOSSLESS = "1.2.840.10008.1.2.4.90"
JPEG_2000 = "1.2.840.10008.1.2.4.91"
HTJ2K_LOSSLESS = "1.2.840.10008.1.2.4.201"
HTJ2K_LOSSLESS_RPCL = "1.2.840.10008.1.2.4.202"
HTJ2K = "1.2.840.10008.1.2.4.203"


def lookup(uid: str) -> Syntax:
    """The entry for a UID; for one that is not in the table, an entry of family UNKNOWN with an empty keyword."""
    return BY_UID.get(uid) or Syntax(uid, "", Family.UNKNOWN)
