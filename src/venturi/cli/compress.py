"""``venturi compress``: a folder tree, transcoded and proven by all cores, into another folder."""

import argparse
import hashlib
import json
import os
import re
import shlex
import signal
import sys
import textwrap
from collections.abc import Collection
from pathlib import Path
from typing import Any

from venturi import log, node
from venturi.cli.common import load_config
from venturi.cli.compress_show import fields, following, show
from venturi.cli.tables import as_json, aside
from venturi.compress.port import FAULTS, TROUBLES, Order, Report, Run
from venturi.config.one_rule import WrongRule, one_rule
from venturi.config.schema import Config
from venturi.errors import ConfigError
from venturi.model import Target

NAME = "compress"
HELP = "transcode a folder tree into another folder, with all cores; every pixel proven, resumable"
INTERRUPTED = 130


def _listed(words: Collection[str]) -> str:
    return textwrap.fill(", ".join(sorted(words)), 105, subsequent_indent="    ", break_on_hyphens=False)


EXAMPLE = f"""\
examples:
  venturi compress study/ small/ --to HTJ2KLossless
  venturi compress archive/ new/ --to JPEGLSLossless --from lossless --min-saving 5%
  venturi compress study/ teaching/ --to JPEG2000 --j2k-cr 20 10 --lossy-max-error 12
  venturi compress study/ plain/ --to ExplicitVRLittleEndian
  venturi compress study/ out/ -c venturi.yaml --destination archive -j 4
  venturi compress study/ small/ --to RLELossless --json --quiet > report.json

OUT gets the same tree. IN is only read. An image that can't be transcoded is copied byte for byte, with the reason in
the report. Files that are not DICOM are left out, or copied with --copy-other; so is DICOMDIR, which says transfer
syntaxes that may have changed. Links to files are followed, links to folders are not.

Ctrl-C finishes what is in hand; a second one stops at once. After that, after kill or loss of power, the same command
goes on where it was: OUT/.venturi-compress keeps notes. A file that changed in IN is done again. A file in OUT that
is not noted there is never overwritten without --overwrite.

With -c, a configuration's rules are asked as the node asks them, but nothing was sent: calling_ae, called_ae and peer
are empty. Routes are not asked.

exit codes:
  0 every image is in OUT, transcoded, or as it was because that is right: it had that syntax already, has no
    pixels, would have saved too little, or is of a kind that the syntax can't hold or the rule does not take
  1 the disk is full, or something was left out as
    {_listed(TROUBLES)},
    or copied as
    {_listed(FAULTS)}
  2 the command line or the configuration is wrong
  130 interrupted
"""
RULE_OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "--to": ("transfer_syntax", {"metavar": "SYNTAX", "help": "keyword or UID of the transfer syntax to make"}),
    "--jls-error": ("jls_error", {"metavar": "N", "help": "JPEG-LS: the largest difference (NEAR)"}),
    "--j2k-cr": ("j2k_cr", {"metavar": "R", "nargs": "+", "help": "JPEG 2000: compression ratios, high to low"}),
    "--j2k-psnr": ("j2k_psnr", {"metavar": "D", "nargs": "+", "help": "JPEG 2000: PSNR in dB, low to high"}),
    "--jpeg-quality": ("jpeg_quality", {"metavar": "Q", "help": "JPEG: 1 to 100"}),
    "--no-mct": (
        "use_mct",
        {"action": "store_const", "const": "false", "help": "JPEG 2000: RGB without the component transform"},
    ),
    "--codec": ("codec", {"metavar": "NAME", "help": "which encoder: see venturi codecs"}),
    "--from": (
        "from",
        {
            "metavar": "WHAT",
            "nargs": "+",
            "help": "what is taken: uncompressed (default), lossless, syntaxes; the rest is copied",
        },
    ),
    "--lossy-max-error": (
        "lossy.max_error",
        {"metavar": "E", "help": "lose something, but no sample more than this (stored values)"},
    ),
    "--beyond": (
        "lossy.beyond",
        {"metavar": "WHAT", "help": "of what would lose more: lossless (default), as-received, hold"},
    ),
    "--uid": ("lossy.uid", {"metavar": "WHAT", "help": "SOP Instance UID of what lost something: new (default), keep"}),
    "--also": ("lossy.also", {"metavar": "MG", "nargs": "+", "help": "modalities that are lossy only by name"}),
    "--min-saving": ("min_saving", {"metavar": "P", "help": "such as 10%%; what saves less is copied"}),
    "--prove": ("prove", {"metavar": "WHAT", "help": "pixels (default), or none: no pixel is compared"}),
    "--as-rgb": (
        "as_rgb",
        {"action": "store_const", "const": "true", "help": "decompression: YBR becomes RGB, which rounds"},
    ),
    "--offset-table": ("offset_table", {"metavar": "KIND", "help": "basic (default), extended"}),
}  # fmt: skip
"""Each option by the rule's key that it is."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.epilog = EXAMPLE
    parser.add_argument("source", metavar="IN", type=Path, help="a folder, or one file")
    parser.add_argument("output", metavar="OUT", type=Path, help="a folder; it is made where it is missing")
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        type=Path,
        help="instead of --to: a configuration, whose rules decide",
    )
    parser.add_argument("--destination", metavar="NAME", default="", help="with -c: for which destination")
    parser.add_argument("-j", "--jobs", metavar="N", type=_jobs, help="workers (default: every core)")
    parser.add_argument("--copy-other", action="store_true", help="copy files that are no DICOM images, too")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace files that are in OUT and not noted there"
    )
    parser.add_argument(
        "--json", action="store_true", help="the report as JSON, with every file that was not transcoded"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress, and no report but what went wrong")
    rule = parser.add_argument_group(
        "what to make", "names and meaning are a rule's: see docs/transcoding.md"
    )
    for option, (key, how) in RULE_OPTIONS.items():
        rule.add_argument(option, dest=key, **how)


def run(args: argparse.Namespace) -> int:
    """Do it all, and say what became of it."""
    order, config = ordered(args)
    workers = args.jobs or len(os.sched_getaffinity(0))
    running = node.compress(order, config, workers, endings=args.json)
    log.configure("compress", lazily=True)
    _listen(running)
    with following(running.report, shown=not args.quiet):
        running.run()
    report = running.report
    code = exit_code(report)
    if args.json:
        _print_json(order, report, code)
    elif not args.quiet or code:
        show(report, brief=args.quiet)
    if report.stopped:
        print(f"venturi: {report.stopped}; the same command goes on when that is mended", file=sys.stderr)
    elif report.interrupted:
        of = f"{report.found_files}" if report.found_all else f"at least {report.found_files}"
        words = f"interrupted: {report.files} of {of} files are done; the same command goes on"
        print(f"venturi: {words}", file=sys.stderr)
    return code


def exit_code(report: Report) -> int:
    """See the epilog."""
    if report.interrupted:
        return INTERRUPTED
    wrong = report.stopped or TROUBLES & report.left_out.keys() or FAULTS & report.passed_on.keys()
    return 1 if wrong else 0


def ordered(args: argparse.Namespace) -> tuple[Order, Config | None]:
    """What is asked for. Raises ConfigError."""
    written = {
        option: value
        for option, (key, _) in RULE_OPTIONS.items()
        if (value := getattr(args, key)) is not None
    }
    common = {"copy_other": args.copy_other, "overwrite": args.overwrite}
    if args.config is not None:
        if written:
            raise ConfigError(
                [f"{', '.join(written)}: a rule of {args.config} says this; give either -c or --to"]
            )
        node.check_packages()
        config = load_config(args)
        for warning in config.warnings:
            print(warning, file=sys.stderr)
        name = _destination(config, args.destination)
        words = f"-c {args.config} --destination {name}"
        digest = hashlib.sha256(f"{config.digest} {name}".encode()).hexdigest()[:16]
        return Order(args.source, args.output, words, digest, destination=name, **common), config
    if "--to" not in written:
        raise ConfigError(["say what to make: --to SYNTAX, such as --to HTJ2KLossless, or -c FILE"])
    if args.destination:
        raise ConfigError(["--destination goes with -c: remove it"])
    target = target_of(written)
    words = shlex.join(_words(written))
    return Order(args.source, args.output, words, target.digest, target, **common), None


def target_of(written: dict[str, Any]) -> Target:
    """What the options of a rule mean, by the option; warnings go to standard error. Raises ConfigError."""
    keys: dict[str, Any] = {}
    for option, value in written.items():
        outer, _, inner = RULE_OPTIONS[option][0].partition(".")
        if inner:
            keys.setdefault(outer, {})[inner] = value
        else:
            keys[outer] = value
    node.check_packages()
    try:
        rule, warnings = one_rule(keys, node.known_codecs)
    except WrongRule as error:
        raise ConfigError([_by_option(said.key, said.words) for said in error.problems]) from error
    for warning in warnings:
        if warning.key != "transfer_syntax":  # that is about what a rule's ``when`` could say
            print(_by_option(warning.key, warning.words), file=sys.stderr)
    return rule.target


def _destination(config: Config, asked: str) -> str:
    """The one that is meant. Raises ConfigError."""
    known = list(config.destinations)
    if asked in known or (not asked and len(known) == 1):
        return asked or known[0]
    names = ", ".join(known)
    if asked:
        raise ConfigError([f"--destination: {config.path} has no destination {asked!r}; it has: {names}"])
    raise ConfigError([f"{config.path} has several destinations, say which with --destination: {names}"])


_BY_KEY = {key: option for option, (key, _) in RULE_OPTIONS.items()} | {"lossy": "--lossy-max-error"}
_KEYS = re.compile(
    r"lossy: \{max_error: N\}|lossy: \{also: \[MG\]\}|\b(?:(?:prove|use_mct|lossy|from|beyond):"
    r"|(?:jls_error|j2k_cr|j2k_psnr|jpeg_quality|use_mct|codec|as_rgb|offset_table|min_saving|max_error)\b)"
)
_AS_OPTION = {
    "lossy: {max_error: N}": "--lossy-max-error N",
    "lossy: {also: [MG]}": "--also MG",
    "max_error": "--lossy-max-error",
    "beyond": "--beyond",
    "use_mct": "--no-mct",
}


def _by_option(key: str, words: str) -> str:
    """A mistake in a rule, said of the options that the rule was made of."""

    def option(match: re.Match[str]) -> str:
        found = match[0].removesuffix(":")
        return _AS_OPTION.get(found) or _BY_KEY.get(found, found)

    return f"{_BY_KEY.get(key, key)}: {_KEYS.sub(option, words)}"


def _words(written: dict[str, Any]) -> list[str]:
    words: list[str] = []
    for option, value in written.items():
        flag = "action" in RULE_OPTIONS[option][1]
        words += [option, *([] if flag else [value] if isinstance(value, str) else value)]
    return words


def _jobs(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 to 1024")
    return int(text)


def _listen(running: Run) -> None:
    """Stop in order at the first signal, at once at the second."""
    asked = False

    def heard(*_: object) -> None:
        nonlocal asked
        if asked:
            if sys.stderr.isatty():
                aside.show_cursor(True)
            os._exit(INTERRUPTED)  # the workers end with us; what is unfinished is swept by the next run
        asked = True
        running.stop()

    signal.signal(signal.SIGINT, heard)
    signal.signal(signal.SIGTERM, heard)


def _print_json(order: Order, report: Report, code: int) -> None:
    """One object; the list of files goes out as it comes: it may be long."""
    print(as_json(fields(order, report, code)).rstrip("}\n") + ',\n "details": [', end="")
    comma = ""
    for ending in report.endings():
        line = {
            "path": ending.path,
            "reason": ending.reason,
            "detail": ending.detail,
            "copied": ending.copied,
        }
        print(f"{comma}\n  {json.dumps(line)}", end="")
        comma = ","
    print("\n ]\n}")
