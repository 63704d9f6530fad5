"""What a rule wishes beside the transfer syntax: ``Target.parameters`` by name, read once.

``jls_error``, ``j2k_cr``, ``j2k_psnr``, ``jpeg_quality``, ``use_mct``: the encoder's, see ``codecs.contract.Options``.
``codec``: name of the encoder to use; the first of its syntax by default. ``from``: which encodings of the pixels are
taken, as ``uncompressed``, ``lossless`` and UIDs of syntaxes. ``as_rgb``: decompression turns YBR into RGB.
``offset_table``: ``basic`` or ``extended``. ``prove``: ``pixels`` or ``none``. ``lossy_max_error``, ``lossy_beyond``,
``lossy_uid``, ``lossy_also``: what ``lossy:`` says.
"""

from dataclasses import dataclass, field, fields
from functools import lru_cache

from venturi.model import Target
from venturi.transcode.codecs.contract import OPTIONS, Options


@dataclass(frozen=True, slots=True)
class Wishes:
    """A target's parameters with their defaults."""

    options: Options = field(default_factory=Options)
    codec: str = ""
    taken: tuple[str, ...] = ()
    """Empty: uncompressed, or for decompression whatever can be decoded."""
    as_rgb: bool = False
    offset_table: str = "basic"
    prove: str = "pixels"
    lossy_max_error: float | None = None
    """None: nothing may be lost."""
    lossy_beyond: str = "lossless"
    lossy_uid: str = "new"
    lossy_also: tuple[str, ...] = ()
    """Modalities that are lossy only where a rule names them."""


@lru_cache(maxsize=64)
def wishes(target: Target) -> Wishes:
    """Read them. Raises ValueError for a name that is none of them: a mistake of ours, since config checks."""
    given = {"taken" if name == "from" else name: value for name, value in target.parameters}
    options = {name: given.pop(name) for name in list(given) if name in OPTIONS}
    unknown = set(given) - {known.name for known in fields(Wishes)}
    if unknown:
        raise ValueError(f"unknown parameters: {', '.join(sorted(unknown))}")
    return Wishes(options=Options(**options), **given)  # type: ignore[arg-type]  # config has given each its type
