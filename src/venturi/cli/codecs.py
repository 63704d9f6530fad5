"""``venturi codecs``: which transfer syntaxes are read and made here, by which libraries; ``--try`` proves it."""

import argparse
import contextlib
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from string import ascii_letters
from typing import Any

from rich.progress import track

from venturi import node
from venturi.cli.tables import as_json, aside, console, short, table
from venturi.dataset.syntaxes import lookup
from venturi.model import Outcome, Reason
from venturi.transcode.port import CodecRow

NAME = "codecs"
HELP = "list which transfer syntaxes are read and made here, by which libraries; try every kind of image"
EXAMPLE = """\
examples:
  venturi codecs                    what is read and made, the names for a rule's codec:, the options each takes
  venturi codecs --try              really encode and prove one image of every kind in every syntax
  venturi codecs --try --markdown   the same as the table in docs/transcoding.md
  venturi codecs --json

exit codes: 0 done; 1 an image could not be encoded, decoded or proven here that should be (with --try);
2 the command line is wrong, or a package that adds codecs is broken
"""
BROKEN = (Reason.ENCODER_FAILED, Reason.DECODER_FAILED, Reason.PROOF_FAILED)
"""What no image of ours may end in."""

WORDS = {
    Reason.ASKED: "the rule asks for it",
    Reason.SAME_SYNTAX: "it is in this transfer syntax already",
    Reason.NO_PIXEL_DATA: "there is no Pixel Data",
    Reason.FLOAT_PIXEL_DATA: "Float or Double Float Pixel Data; no codec here takes them",
    Reason.NOT_NATIVE: "it came compressed, and the rule's from: does not take that",
    Reason.LOSSY_INPUT: "it came lossy-compressed, which is never encoded again; only decompressed",
    Reason.UNSUPPORTED_INPUT_SYNTAX: "no codec here reads its transfer syntax",
    Reason.UNSUPPORTED_TARGET: "no codec here makes this with these options",
    Reason.SIGNED_OBJECT: "a digital signature may cover what would change",
    Reason.SEGMENTATION_BITS: "one bit allocated for each pixel",
    Reason.MALFORMED: "the dataset can't be read for certain: truncated, out of order, or lengths that lie",
    Reason.IMAGE_ATTRIBUTES: "attributes of the Image Pixel module are absent or contradict each other",
    Reason.LENGTH: "Pixel Data is not as long as the attributes say",
    Reason.HIGH_BIT: "HighBit is not BitsStored - 1",
    Reason.UNUSED_BITS: "bits above BitsStored hold data that this codec, or its readers, would lose",
    Reason.BITS: "this codec, or its readers, can't do this bit depth",
    Reason.PHOTOMETRIC: "this Photometric Interpretation can't be encoded so",
    Reason.DIMENSIONS: "this codec can't do images of this size",
    Reason.TOO_LARGE: "it needs more memory or longer values than there can be",
    Reason.FRAMES: "which fragments are which frame can't be told for certain",
    Reason.CODESTREAM: "the codestream and the header contradict each other",
    Reason.DECODER_FAILED: "what came compressed can't be decoded",
    Reason.NEVER_LOSSY: "PET, NM, doses, segmentations, palettes, padding, embedded overlays, lossy history; "
    "mammography unless the rule names it",
    Reason.ERROR_BOUND: "a sample would differ by more than the rule allows",
    Reason.ENCODER_FAILED: "the encoder failed",
    Reason.PROOF_FAILED: "the result could not be proven",
    Reason.NO_SAVING: "it would save less than was asked for",
    Reason.WORKER_DIED: "the process that encoded it died",
}
"""Why an image goes on as received, each in a line."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One image in one syntax."""

    kind: str
    transfer_syntax: str
    outcome: Outcome


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.epilog = EXAMPLE
    parser.add_argument(
        "--try", action="store_true", dest="attempt", help="encode one image of every kind in every syntax"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="JSON instead of tables")
    form.add_argument("--markdown", action="store_true", help="with --try: the table of the documentation")


def run(args: argparse.Namespace) -> int:
    """List, or try; 1 where something does not work that should."""
    if args.markdown and not args.attempt:
        print("--markdown goes with --try", file=sys.stderr)
        return 2
    rows = node.codec_rows()
    if not args.attempt:
        print(as_json(fields(rows))) if args.json else show(rows)
        return 0
    columns = defaults(rows)
    attempts = attempt_all(columns)
    if args.json:
        print(as_json([_fields(attempt) for attempt in attempts]))
    elif args.markdown:
        print(markdown(columns, attempts))
    else:
        show_attempts(columns, attempts)
    return 1 if any(attempt.outcome.reason in BROKEN for attempt in attempts) else 0


def packages(rows: list[CodecRow]) -> dict[str, str]:
    """The packages behind the codecs, and their versions."""
    named = {library.partition("/")[0] for row in rows for library in row.libraries.split(", ")}
    versions = {}
    for name in sorted((named | {row.package for row in rows}) - {""}):
        with contextlib.suppress(PackageNotFoundError):  # zlib, say, which is Python's own
            versions[name] = version(name)
    return versions


def fields(rows: list[CodecRow]) -> dict[str, Any]:
    """Everything as plain fields."""
    first = defaults(rows)
    return {
        "makes": [
            {
                "transfer_syntax": row.transfer_syntax,
                "keyword": lookup(row.transfer_syntax).keyword,
                "codec": row.name,
                "default": row in first,
                "lossy": row.lossy,
                "libraries": row.libraries,
                "options": row.takes,
                "package": row.package,
            }
            for row in rows
            if row.encodes
        ],
        "reads": [
            {
                "transfer_syntax": row.transfer_syntax,
                "keyword": lookup(row.transfer_syntax).keyword,
                "libraries": row.libraries,
                "package": row.package,
            }
            for row in rows
            if not row.encodes
        ],
        "packages": packages(rows),
    }


def defaults(rows: list[CodecRow]) -> list[CodecRow]:
    """The encoder of each syntax that a rule gets if it names none, the lossless ones first."""
    first: dict[str, CodecRow] = {}
    for row in rows:
        if row.encodes:
            first.setdefault(row.transfer_syntax, row)
    return sorted(first.values(), key=lambda row: row.lossy)


def show(rows: list[CodecRow]) -> None:
    """Print tables, readable at 80 columns."""
    made = table("made", "transfer syntax", "codec:", "encodes, proves", "options")
    for first in defaults(rows):
        syntax = short(first.transfer_syntax)
        for row in (row for row in rows if row.encodes and row.transfer_syntax == first.transfer_syntax):
            made.add_row(syntax, row.name, from_package(row, "\n"), "\n".join(row.takes))
            syntax = ""
    console.print(made)
    console.print("[dim]the first codec of a syntax is its default; a rule's codec: names another[/]\n")
    read = table("read", "transfer syntax", "decodes, decodes again for the proof")
    for row in sorted((row for row in rows if not row.encodes), key=lambda row: order(row.transfer_syntax)):
        read.add_row(short(row.transfer_syntax), from_package(row, " "))
    console.print(read)
    console.print("[dim]anything else is received, kept and delivered as it came[/]\n")
    names = table("packages", "package", "version")
    for name, number in packages(rows).items():
        names.add_row(name, number)
    console.print(names)


def from_package(row: CodecRow, between: str) -> str:
    """Its libraries, and the package that adds it where that is not ours."""
    libraries = row.libraries.replace(", ", f",{between}") or "[dim]uncompressed[/]"
    return libraries + (f"{between}[yellow]added by {row.package}[/]" if row.package else "")


def order(uid: str) -> list[int]:
    """UIDs in the order of their numbers."""
    return [int(part) for part in uid.split(".")]


# --- trying ----------------------------------------------------------------------------------------------------------


def attempt_all(columns: list[CodecRow]) -> list[Attempt]:
    """Encode and prove each kind of image in each syntax; nothing is kept. Raises Permanent, OSError."""
    from venturi.cli.kinds import target_of, write_all  # noqa: PLC0415  # loads all of pydicom, for who asks for it

    engine = node.engine()
    attempts = []
    with tempfile.TemporaryDirectory(prefix="venturi-codecs-") as folder:
        kinds = write_all(Path(folder), engine)
        output = Path(folder) / "rendition.dcm"
        for kind, path in track(kinds.items(), "encoding and proving", console=aside, transient=True):
            for row in columns:
                target = target_of(row.transfer_syntax, row.takes, row.lossy)
                attempts.append(Attempt(kind, row.transfer_syntax, engine.transcode(path, target, output)))
                output.unlink(missing_ok=True)
    return attempts


def ratio(outcome: Outcome) -> float:
    """How many times smaller than it came."""
    return outcome.pixel_bytes_before / max(outcome.pixel_bytes_after, 1)


def _fields(attempt: Attempt) -> dict[str, Any]:
    outcome = attempt.outcome
    return {
        "kind": attempt.kind,
        "transfer_syntax": attempt.transfer_syntax,
        "keyword": lookup(attempt.transfer_syntax).keyword,
        "reason": outcome.reason,
        "detail": outcome.detail,
        "ratio": float(f"{ratio(outcome):.3g}") if outcome.transcoded else None,
        "proof": outcome.proof,
        "codec": outcome.codec,
    }


def cells(attempts: list[Attempt]) -> dict[str, list[Outcome]]:
    """Outcomes by kind, in the columns' order."""
    found: dict[str, list[Outcome]] = {}
    for attempt in attempts:
        found.setdefault(attempt.kind, []).append(attempt.outcome)
    return found


def occurring(attempts: list[Attempt]) -> list[Reason]:
    """The reasons that occur, in the order of the closed list."""
    return [reason for reason in Reason if any(attempt.outcome.reason is reason for attempt in attempts)]


def asked(columns: list[CodecRow]) -> str:
    """With which options the lossy ones are tried."""
    from venturi.cli.kinds import LOSSY, target_of  # noqa: PLC0415  # as above

    said = []
    for row in columns:
        options = dict(target_of(row.transfer_syntax, row.takes, row.lossy).parameters)
        said += [
            f"{lookup(row.transfer_syntax)} with {name}: {_written(options[name])}"
            for name, _ in LOSSY
            if name in options
        ]
    return ", ".join(said)


def _written(value: object) -> str:
    return f"[{', '.join(f'{number:g}' for number in value)}]" if isinstance(value, tuple) else str(value)


def show_attempts(columns: list[CodecRow], attempts: list[Attempt]) -> None:
    """Print the table for 80 columns: syntaxes by number, reasons by letter, each explained below."""
    letters = dict(zip(occurring(attempts), ascii_letters, strict=False))
    made = table(
        "what becomes of an image, grey where nothing else is said",
        "kind of image",
        *(f"{number}>" for number, _ in enumerate(columns, 1)),
    )
    for kind, outcomes in cells(attempts).items():
        made.add_row(kind, *(_cell(outcome, letters) for outcome in outcomes))
    console.print(made)
    key = table("", "", "in this transfer syntax, by this codec")
    for number, row in enumerate(columns, 1):
        key.add_row(str(number), f"{lookup(row.transfer_syntax)} by {row.name}")
    console.print(key)
    why = table("", "", "as received, because", "")
    for reason, letter in letters.items():
        style = "red" if reason in BROKEN else "yellow"
        why.add_row(f"[{style}]{letter}[/]", str(reason), WORDS[reason])
    console.print(why)
    console.print(f"\nA figure: encoded and proven, so many times smaller than it came. {asked(columns)}.")
    for attempt in attempts:
        if attempt.outcome.reason in BROKEN:
            words = f"{attempt.kind}: {lookup(attempt.transfer_syntax)}: {attempt.outcome.detail}"
            console.print(words, style="red", markup=False)


def _cell(outcome: Outcome, letters: dict[Reason, str]) -> str:
    if outcome.reason is None:
        figure = ratio(outcome)
        return f"[green]{figure:.1f}[/]" if figure >= 1 else f"[green]{figure:.1g}[/]"
    style = "red" if outcome.reason in BROKEN else "yellow"
    return f"[{style}]{letters[outcome.reason]}[/]"


def markdown(columns: list[CodecRow], attempts: list[Attempt]) -> str:
    """The same, the same every time: no figures."""
    heads = [str(lookup(row.transfer_syntax)) for row in columns]
    lines = [
        f"| {' | '.join(['kind of image (grey where nothing else is said)', *heads])} |",
        "|---" * (len(heads) + 1) + "|",
    ]
    for kind, outcomes in cells(attempts).items():
        said = ["yes" if outcome.reason is None else str(outcome.reason) for outcome in outcomes]
        lines.append(f"| {' | '.join([kind, *said])} |")
    lines += ["", f"Yes: encoded and proven. {asked(columns)}. Else as received, because:", ""]
    lines += [f"- `{reason}`: {WORDS[reason]}." for reason in occurring(attempts)]
    return "\n".join(lines)
