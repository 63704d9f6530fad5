"""From one uncompressed little endian syntax to another: only headers are written anew, whatever the object is.

For: what the codecs have no part in. Objects without pixels, or with pixels no codec takes, in explicit VR; everything
in implicit VR. Pixel Data stays byte for byte, as do all other values (``dataset.explicit``, ``dataset.implicit``),
and it is proven from the final file that they did.
"""

from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from venturi.dataset import part10
from venturi.dataset.agrees import agrees
from venturi.dataset.agrees_implicit import agrees_implicit
from venturi.dataset.explicit import TooLong, explicit
from venturi.dataset.implicit import copy, implicit
from venturi.dataset.scan import EXPLICIT_LE, IMPLICIT_LE, PIXEL_DATA, Element, encoding_of, find, name, scan
from venturi.dataset.splice import encode_header
from venturi.dataset.syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, Syntax, lookup
from venturi.model import Outcome, Proof, Reason, Target
from venturi.transcode.dataset_file import DatasetFile, open_dataset
from venturi.transcode.image import DIGITAL_SIGNATURES, Values
from venturi.transcode.original import inflated
from venturi.transcode.plan import rendition_meta
from venturi.transcode.prove_header import failed
from venturi.transcode.refusal import Refused
from venturi.transcode.wishes import Wishes, wishes

_PIXELS = (0x7FE00008, 0x7FE00009, PIXEL_DATA)
"""Float Pixel Data, Double Float Pixel Data, Pixel Data."""
_NOT_OF_THE_HEADER = frozenset(
    (
        *(Reason.NO_PIXEL_DATA, Reason.FLOAT_PIXEL_DATA, Reason.SEGMENTATION_BITS, Reason.IMAGE_ATTRIBUTES),
        *(Reason.HIGH_BIT, Reason.PHOTOMETRIC, Reason.LENGTH),
    )
)
"""Why an object is none for codecs, which nothing is to those who let its pixels be."""


def can_recast(refused: Refused, received: DatasetFile, target: Target) -> bool:
    """Whether what codecs refused needs none of them to be in the target's syntax."""
    syntax, to = lookup(received.meta.transfer_syntax), target.transfer_syntax
    as_it_is = refused.reason in (Reason.NO_PIXEL_DATA, Reason.FLOAT_PIXEL_DATA) or not syntax.big_endian
    of_header = refused.reason in _NOT_OF_THE_HEADER and as_it_is
    return of_header and to == EXPLICIT_VR_LITTLE_ENDIAN and syntax.native and takes(wishes(target), syntax)


def takes(wished: Wishes, syntax: Syntax) -> bool:
    """Whether the rule takes what came uncompressed, in that syntax."""
    return not wished.taken or bool({"uncompressed", "lossless", syntax.uid} & set(wished.taken))


def recast(received: DatasetFile, target: Target, output: Path) -> Outcome:
    """Write the object to ``output`` in explicit or implicit VR little endian, and prove it.

    Pixel Data in big endian is not swapped here. Raises Refused, Malformed, OSError.
    """
    syntax = lookup(received.meta.transfer_syntax)
    file = inflated(received, output.parent) if syntax.deflated else received
    encoding = encoding_of(syntax)
    source = list(scan(file.data, file.offset, encoding=encoding))
    if not takes(wishes(target), syntax):
        why = Reason.NOT_NATIVE if any(find(source, tag) for tag in _PIXELS) else Reason.NO_PIXEL_DATA
        raise Refused(why, f"the rule does not take {syntax}")
    if find(source, DIGITAL_SIGNATURES):
        raise Refused(Reason.SIGNED_OBJECT, "a signature may cover what would change")
    pixel_data = find(source, PIXEL_DATA)
    if pixel_data and encoding.big_endian:
        raise Refused(Reason.IMAGE_ATTRIBUTES, "big endian Pixel Data that no codec takes")
    try:
        with output.open("xb") as out:
            out.write(part10.encode(rendition_meta(received.meta, target.transfer_syntax or "")))
            if target.transfer_syntax == IMPLICIT_VR_LITTLE_ENDIAN:
                implicit(out, file.data, source)
            elif encoding == EXPLICIT_LE:
                copy(out, file.data, file.offset, len(file.data))
            else:
                _write_explicit(out, file, source)
        return _proven(received, file, source, target, open_dataset(output))
    except BaseException:
        output.unlink(missing_ok=True)
        raise


def _write_explicit(out: BinaryIO, file: DatasetFile, source: list[Element]) -> None:
    """Write implicit VR, or big endian without Pixel Data, as explicit VR little endian. Raises Refused, Malformed."""
    encoding = encoding_of(lookup(file.meta.transfer_syntax))
    try:
        head = explicit(file.data, [each for each in source if each.tag < PIXEL_DATA], encoding)
        tail = explicit(file.data, [each for each in source if each.tag > PIXEL_DATA], encoding)
    except TooLong as error:
        raise Refused(Reason.TOO_LARGE, str(error)) from error
    out.write(head)
    pixel_data = find(source, PIXEL_DATA)
    if pixel_data:
        if pixel_data.length is None or pixel_data.length % 2:
            raise Refused(Reason.LENGTH, "native Pixel Data has an undefined or odd length")
        out.write(encode_header(PIXEL_DATA, "OW", pixel_data.length))  # PS3.5 A.2
        copy(out, file.data, pixel_data.value, pixel_data.end)
    out.write(tail)


def _proven(
    received: DatasetFile, file: DatasetFile, source: list[Element], target: Target, result: DatasetFile
) -> Outcome:
    """Compare the final file with what it was made from. Raises Refused."""
    syntax = lookup(received.meta.transfer_syntax)
    to_implicit = target.transfer_syntax == IMPLICIT_VR_LITTLE_ENDIAN
    found = list(scan(result.data, result.offset, encoding=IMPLICIT_LE if to_implicit else EXPLICIT_LE))
    if result.meta != rendition_meta(received.meta, target.transfer_syntax or ""):
        raise failed("the file meta group names another instance or transfer syntax")
    if to_implicit:
        fault = agrees_implicit(file.data, source, result.data, found)
    elif encoding_of(syntax) == EXPLICIT_LE:
        fault = "" if _same(file, file.offset, result, result.offset, file.size_bytes) else "other bytes"
    else:
        fault = agrees(file.data, _others(source), encoding_of(syntax), result.data, _others(found))
        fault = fault or _pixels_differ(file, find(source, PIXEL_DATA), result, find(found, PIXEL_DATA))
    if fault:
        raise failed(f"the header, converted: {fault}")
    pixel_bytes = sum(each.length or 0 for each in found if each.tag in _PIXELS)
    explicit_side = Values(file.data, source) if to_implicit else Values(result.data, found)
    frames = 0
    with suppress(Refused):  # it is for the tables alone
        frames = explicit_side.frames() if pixel_bytes else 0
    return Outcome(
        target=target,
        transfer_syntax=result.meta.transfer_syntax,
        size_bytes=result.size_bytes,
        sha256=result.sha256,
        proof=Proof.PIXELS,
        frames=frames,
        pixel_bytes_before=pixel_bytes,
        pixel_bytes_after=pixel_bytes,
    )


def _others(elements: list[Element]) -> list[Element]:
    return [element for element in elements if element.tag != PIXEL_DATA]


def _pixels_differ(
    file: DatasetFile, before: Element | None, result: DatasetFile, after: Element | None
) -> str:
    if before is None or after is None:
        return "" if before is after else f"{name(PIXEL_DATA)} is missing"
    same = before.length == after.length and _same(
        file, before.value, result, after.value, before.end - before.value
    )
    return "" if same else f"{name(PIXEL_DATA)} has another value"


def _same(file: DatasetFile, start: int, result: DatasetFile, position: int, size_bytes: int) -> bool:
    """Whether so many bytes are the same, from there on, and all there are where the whole dataset is meant."""
    step = 1 << 24
    for done in range(0, size_bytes, step):
        count = min(step, size_bytes - done)
        if (
            file.data[start + done : start + done + count]
            != result.data[position + done : position + done + count]
        ):
            return False
        file.forget(start + done, start + done + count)
        result.forget(position + done, position + done + count)
    return True
