"""Structured logs on standard error: readable at a terminal, one JSON object a line elsewhere.

No PHI: UIDs, our ids, AE titles and addresses identify; names, patient ids and free text of headers never appear.
Writing a line never raises: a log on a full disk, or whose reader has gone, must not end the work it tells of.

In workers and short commands structlog is imported with the first line that is written: it takes as long as all else
that one needs, and most never say anything. Elsewhere it is there from the start: what has no descriptors left can't
import.
"""

import contextlib
import logging
import sys
import threading
import warnings
from collections.abc import Callable, MutableMapping
from functools import cached_property
from typing import Any


class _Lazy:
    """A structlog logger, from its first use on."""

    @cached_property
    def _logger(self) -> Any:
        import structlog  # noqa: PLC0415  # see the module

        with _telling:
            if _untold:
                _tell(_untold.pop())
        return structlog.get_logger()

    def __getattr__(self, name: str) -> Any:
        """Find a method, such as ``info``."""
        return getattr(self._logger, name)


def get_logger() -> Any:
    """Give a logger as structlog's function of that name does."""
    return _Lazy()


_untold: list[str] = []
"""The role, as long as structlog is not told."""
_telling = threading.RLock()


class _Logger:
    """Prints, and loses the lines that standard error does not take."""

    def msg(self, message: str) -> None:
        """Print a line."""
        with contextlib.suppress(OSError, ValueError):  # full, broken; closed
            sys.stderr.write(f"{message}\n")  # one write: threads don't mix their lines

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
    get_logger().error("thread ended", error=args.exc_type.__name__, at=where)


def _tell(role: str) -> None:
    import structlog  # noqa: PLC0415  # see the module

    terminal = sys.stderr.isatty()

    def add_role(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["role"] = role
        return event

    shared: list[Callable[..., Any]] = [
        add_role,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Callable[..., Any]] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]  # without locals
        if terminal
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=shared + last,
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=lambda *_: _Logger(),
        cache_logger_on_first_use=True,
    )


def configure(role: str, *, lazily: bool = False) -> None:
    """Set up logging for this process; every line carries the role. ``lazily``: see the module."""
    _untold[:] = [role]
    if not lazily:
        with _telling:
            _tell(_untold.pop())
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
