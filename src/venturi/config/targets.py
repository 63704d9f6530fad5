"""What a rule can ask for: the transfer syntaxes that are made, and which of a rule's keys mean something with each.

The encoders ignore silently what they don't know; here every key that would be ignored is found, with a syntax that
takes it. Plain tables and words; ``rule_text`` gives them their places.
"""

from collections.abc import Collection, Iterable, Iterator

from venturi.config.values import Codecs
from venturi.dataset.syntaxes import BY_KEYWORD, Family, Syntax, lookup
from venturi.rules.keys import suggestion
from venturi.rules.parse import syntax_uid

NATIVE = ("ExplicitVRLittleEndian", "ImplicitVRLittleEndian")
"""Keywords of the uncompressed syntaxes that are made."""
NEEDS = {
    "JPEGBaseline8Bit": ("jpeg_quality",),
    "JPEGLSNearLossless": ("jls_error",),
    "JPEG2000": ("j2k_cr", "j2k_psnr"),
    "HTJ2K": ("j2k_cr", "j2k_psnr"),
}
"""The lossy syntaxes, and their parameters, of which exactly one is needed."""

_JPEG_2000 = ("JPEG2000Lossless", "JPEG2000", "HTJ2KLossless", "HTJ2KLosslessRPCL", "HTJ2K")
_ENCAPSULATED = (
    *("RLELossless", "JPEGLosslessSV1", "JPEGBaseline8Bit", "JPEGLSLossless", "JPEGLSNearLossless"),
    *_JPEG_2000,
)
TARGETS = (*NATIVE, *_ENCAPSULATED)
"""Keywords of the syntaxes that are made; other packages may bring more."""

_TAKEN_BY = {
    "jls_error": ("JPEGLSNearLossless",),
    "j2k_cr": ("JPEG2000", "HTJ2K"),
    "j2k_psnr": ("JPEG2000", "HTJ2K"),
    "jpeg_quality": ("JPEGBaseline8Bit",),
    "use_mct": _JPEG_2000,
    "codec": _ENCAPSULATED,
    "offset_table": _ENCAPSULATED,
    "min_saving": _ENCAPSULATED,
    "as_rgb": NATIVE,
    "lossy": tuple(NEEDS),
    "from": TARGETS,
    "prove": TARGETS,
}
_ANY_ENCODER = ("codec", "offset_table", "min_saving", "from", "prove")
OPTIONS = ("jls_error", "j2k_cr", "j2k_psnr", "jpeg_quality", "use_mct")
"""Those that are the encoder's own."""
KEYS = tuple(_TAKEN_BY)
"""What may stand beside ``transfer_syntax``, as written."""

UNCOMPRESSED, LOSSLESS = "uncompressed", "lossless"
_DECODED = (Family.NATIVE, Family.RLE, Family.JPEG, Family.JPEG_LS, Family.JPEG_2000, Family.HTJ2K)


def brought(syntax: Syntax, codecs: Codecs | None) -> Collection[str] | None:
    """What a rule may say beside a lossless syntax that only another package makes; None where none does."""
    still_image = syntax.family not in (Family.NATIVE, Family.VIDEO, Family.REFERENCED, Family.UNKNOWN)
    if codecs is None or syntax.lossy or not still_image or not (known := codecs().get(syntax.uid)):
        return None
    return {*_ANY_ENCODER, *(option for takes in known.values() for option in takes)}


def ignored(syntax: Syntax, keys: Iterable[str], taken: Collection[str] = ()) -> Iterator[tuple[str, str]]:
    """Each key that means nothing with a syntax that is made, and what to say of it; ``taken`` mean something."""
    for key in keys:
        takers = _TAKEN_BY[key]
        if str(syntax) in takers or key in taken:
            continue
        if key == "lossy":
            yield key, f"{syntax} is lossless, so lossy: would be ignored: remove it"
        elif key == "min_saving":
            yield key, f"{syntax} saves nothing, so min_saving would leave all as received: remove it"
        else:
            yield key, f"{syntax} takes no {key} (it would be ignored): remove it, or choose {takers[0]}"


def taken_of(text: str, codecs: Codecs | None = None) -> str:
    """One entry of ``from``: a word, or the UID of a syntax that we or another package decode. Raises ValueError."""
    words = [UNCOMPRESSED, LOSSLESS]
    if text in words:
        return text
    try:
        syntax = lookup(syntax_uid(text))
    except ValueError:
        known = suggestion(text, [*words, *BY_KEYWORD])
        raise ValueError(
            f"{text!r} is neither uncompressed nor lossless nor a transfer syntax's keyword or UID{known}"
        ) from None
    ours = syntax.family in _DECODED and not syntax.keyword.startswith("JPEG2000MC")
    if not ours and (codecs is None or syntax.uid not in codecs()):
        raise ValueError(f"Venturi does not decode {syntax}: what comes in it goes on as received")
    return syntax.uid


def takes(entries: Iterable[str], syntax: Syntax) -> tuple[str, ...]:
    """A rule's ``from``, the same for what means the same; empty where that is the default.

    What is lossless includes what is uncompressed. By default only uncompressed pixels are encoded, and whatever can
    be decoded is decompressed.
    """
    found = set(entries)
    if LOSSLESS in found:
        found.add(UNCOMPRESSED)
    if found == {UNCOMPRESSED} and str(syntax) not in NATIVE:
        return ()
    return tuple(sorted(found))
