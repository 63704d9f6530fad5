"""Structured logs on standard error: readable at a terminal, one JSON object a line elsewhere.

No PHI: UIDs, our ids, AE titles and addresses identify; names, patient ids and free text of headers never appear.
Writing a line never raises: a log on a full disk, or whose reader has gone, must not end the work it tells of.
"""

import contextlib
import logging
import sys
import threading
import warnings
from typing import Any

import structlog


class _Logger(structlog.PrintLogger):
    """Prints, and loses the lines that standard error does not take."""

    def msg(self, message: str) -> None:
        """Print a line."""
        with contextlib.suppress(OSError, ValueError):  # full, broken; closed
            super().msg(message)

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


def _without_text(record: logging.LogRecord) -> bool:
    """Of what pydicom and pynetdicom say, keep only where and which exception: the rest quotes the network."""
    if record.name.split(".")[0] in ("pydicom", "pynetdicom"):
        kind = record.exc_info[0] if record.exc_info else None
        record.msg = f"at {record.filename}:{record.lineno}" + (f": {kind.__name__}" if kind else "")
        record.args = record.exc_info = record.exc_text = None
    return True


def _thread_ended(args: threading.ExceptHookArgs) -> None:
    """Say where a thread of a library's ended, without the exception's text, which may quote the network."""
    frame = args.exc_traceback
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    where = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame is not None else "?"
    structlog.get_logger().error("thread ended", error=args.exc_type.__name__, at=where)


def configure(role: str) -> None:
    """Set up logging for this process; every line carries the role."""
    terminal = sys.stderr.isatty()

    def add_role(_: Any, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
        event["role"] = role
        return event

    shared: list[structlog.types.Processor] = [
        add_role,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[structlog.types.Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]  # without locals
        if terminal
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=shared + last,
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=lambda *_: _Logger(sys.stderr),
        cache_logger_on_first_use=True,
    )
    threading.excepthook = _thread_ended
    # Libraries log through the standard library; only what is wrong is wanted from them. Their warnings repeat
    # values from the network, and Python remembers each text for ever.
    warnings.simplefilter("ignore")
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.ERROR)  # pydicom's logger has a level of its own, which is lower
    handler.addFilter(_without_text)
    logging.basicConfig(
        level=logging.ERROR, handlers=[handler], format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
