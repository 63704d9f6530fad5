"""Which codec reads text of a Specific Character Set (0008,0005) (PS3.3 C.12.1.1.2).

The common single-byte and multi-byte sets; text in any other, or bytes that its set does not have, still give
text that can be matched where it is ASCII. Nothing raises.
"""

_CODECS = {
    "": "latin-1",
    "ISO_IR 6": "latin-1",
    "ISO_IR 13": "shift_jis",
    "ISO_IR 100": "latin-1",
    "ISO_IR 101": "iso8859-2",
    "ISO_IR 109": "iso8859-3",
    "ISO_IR 110": "iso8859-4",
    "ISO_IR 126": "iso8859-7",
    "ISO_IR 127": "iso8859-6",
    "ISO_IR 138": "iso8859-8",
    "ISO_IR 144": "iso8859-5",
    "ISO_IR 148": "iso8859-9",
    "ISO_IR 166": "tis-620",
    "ISO_IR 192": "utf-8",
    "ISO_IR 203": "iso8859-15",
    "GB18030": "gb18030",
    "GBK": "gbk",
    "ISO 2022 IR 6": "latin-1",
    "ISO 2022 IR 58": "iso2022_jp_2",
    "ISO 2022 IR 87": "iso2022_jp_2",
    "ISO 2022 IR 149": "iso2022_kr",
    "ISO 2022 IR 159": "iso2022_jp_2",
}
DEFAULT = "latin-1"


def codec_for(terms: tuple[str, ...]) -> str:
    """Python's codec for the values of the attribute; of code extensions, one that reads most of them."""
    known = []
    for term in terms:
        single_byte = term.replace("ISO 2022 IR ", "ISO_IR ")
        known.append(_CODECS.get(term) or _CODECS.get(single_byte) or DEFAULT)
    extended = [codec for codec in known if codec.startswith("iso2022")]
    return (extended or known or [DEFAULT])[0]


def decode(value: bytes, codec: str) -> str:
    """Text of ``value``; bytes the codec does not have are read as Latin-1, so that nothing is lost."""
    try:
        return value.decode(codec)
    except UnicodeDecodeError:
        return value.decode("latin-1")
