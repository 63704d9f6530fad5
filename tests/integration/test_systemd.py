"""What systemd is told and gives, without systemd: the notify socket, and the listening socket it bound."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from integration.nodes import config_text
from integration.peers import run


def heard(bell: socket.socket, wanted: str, timeout_s: float = 60) -> list[str]:
    """What comes by the notify socket until a line is there."""
    lines: list[str] = []
    until = time.monotonic() + timeout_s
    while wanted not in lines:
        bell.settimeout(max(0.1, until - time.monotonic()))
        lines += bell.recv(4096).decode().splitlines()
    return lines


def test_it_says_ready_reloading_stopping_and_feeds_the_watchdog(tmp_path: Path) -> None:
    (tmp_path / "venturi.yaml").write_text(config_text())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell:
        address = f"\0venturi-test-{os.getpid()}"
        bell.bind(address)
        environment = {**os.environ, "NOTIFY_SOCKET": "@" + address[1:], "WATCHDOG_USEC": "2000000"}
        command = [sys.executable, "-m", "venturi", "run", "-c", str(tmp_path / "venturi.yaml")]
        node = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        try:
            assert any(line.startswith("STATUS=listening on 127.0.0.1:") for line in heard(bell, "READY=1"))
            heard(bell, "WATCHDOG=1")
            node.send_signal(signal.SIGHUP)
            assert any(line.startswith("MONOTONIC_USEC=") for line in heard(bell, "RELOADING=1"))
            heard(bell, "READY=1")
            node.terminate()
            heard(bell, "STOPPING=1")
            assert node.wait(60) == 0
        finally:
            node.kill()
            node.wait()


def test_it_takes_the_socket_that_systemd_has_bound(tmp_path: Path) -> None:
    (tmp_path / "venturi.yaml").write_text(config_text().replace("127.0.0.1:0", "127.0.0.1:1"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # As sd_listen_fds(3) has it: the socket is descriptor 3, and LISTEN_PID is the process itself.
        words = f'exec 3<&{listener.fileno()}; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"'
        command = ["bash", "-c", words, "bash", sys.executable, "-m", "venturi", "run"]
        node = subprocess.Popen(
            [*command, "-c", str(tmp_path / "venturi.yaml")],
            pass_fds=(listener.fileno(),),
            stderr=subprocess.DEVNULL,
        )
        try:
            port = str(listener.getsockname()[1])
            echo = run(
                "echoscu", "-to", "60", "-ta", "60", "-aec", "VENTURI", "127.0.0.1", port, timeout_s=90
            )
            assert echo.returncode == 0, echo.stderr
            node.terminate()
            assert node.wait(60) == 0
        finally:
            node.kill()
            node.wait()
