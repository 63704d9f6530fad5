"""Tell systemd how the service is (sd_notify(3)); without systemd, do nothing."""

import contextlib
import os
import socket
import time


def notify(*lines: str) -> None:
    """Send ``READY=1``, ``STATUS=...`` and the like. Never raises: the manager's trouble is not the node's."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # Linux's abstract namespace
        address = "\0" + address[1:]
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as bell,
    ):
        bell.sendto("\n".join(lines).encode(), address)


def reloading() -> None:
    """Say that a reload begins; the time goes with it for units of Type=notify-reload (systemd 253 and later)."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def watchdog_interval_s() -> float | None:
    """How often WATCHDOG=1 must be sent at the latest: half of what systemd allows, or None."""
    limit_us = os.environ.get("WATCHDOG_USEC")
    return int(limit_us) / 2e6 if limit_us else None


def listening_socket() -> socket.socket | None:
    """The socket that systemd bound for us (socket activation, sd_listen_fds(3)), or None."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
        return None
    return socket.socket(fileno=3)
