"""What a process that is shut in can't do, and what it still can. Real processes, the real kernel."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SHUT_IN = """
import os, signal, socket, subprocess, sys, threading
import imagecodecs, numpy
from venturi.transcode import sandbox
if "open" not in sys.argv:
    assert sandbox.enter() == (), "this kernel does not do it"
"""
CONFINED = """
import mmap, resource, sys, threading
from pathlib import Path
from venturi.transcode import sandbox
MIB = 1 << 20
limits = sandbox.Limits(wall_s=60.0, cpu_s=1.0, memory_bytes=64 * MIB, file_bytes=MIB)
"""


def filters() -> bool:
    """Whether the kernel can filter system calls at all."""
    return "Seccomp:" in Path("/proc/self/status").read_text() and os.uname().machine in ("x86_64", "aarch64")


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A Python of its own, to its end."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


needs_filter = pytest.mark.skipif(not filters(), reason="this kernel does not filter system calls")
forbidden = pytest.mark.parametrize(
    "code",
    [
        "socket.socket(socket.AF_INET, socket.SOCK_STREAM)",
        "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)",
        "socket.socketpair()",
        "os.fork() or os._exit(0)",
        "os.execv('/bin/true', ['true'])",
        "subprocess.run(['/bin/true'], check=True)",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "os.kill(os.getppid(), 0)",
        "signal.pidfd_send_signal(os.pidfd_open(os.getppid()), 0)",
    ],
)


@needs_filter
@forbidden
def test_it_can_not(code: str) -> None:
    done = python(f"{SHUT_IN}\ntry:\n    {code}\nexcept PermissionError:\n    print('denied')")
    assert (done.stdout, done.stderr) == ("denied\n", "")


@forbidden
def test_without_the_filter_it_could(code: str) -> None:
    assert python(f"{SHUT_IN}\n{code}", "open").returncode == 0


@needs_filter
def test_every_thread_that_runs_already_is_shut_in() -> None:
    code = """
held = threading.Event()
thread = threading.Thread(target=held.wait)
thread.start()
assert sandbox.enter() == ()
for task in os.listdir("/proc/self/task"):
    print([line for line in open(f"/proc/self/task/{task}/status") if line.startswith("Seccomp:")])
held.set()
"""
    done = python(SHUT_IN.replace('"open" not in', '"never" in') + code)
    assert set(done.stdout.splitlines()) == {"['Seccomp:\\t2\\n']"}, done.stderr
    assert len(done.stdout.splitlines()) >= 2


@needs_filter
def test_codecs_work_with_threads_of_their_own() -> None:
    code = """
frame = numpy.random.default_rng(1).integers(0, 4096, (256, 256), "uint16")
for codec in ("jpegxl", "jpeg2k"):
    options = {"lossless": True} if codec == "jpegxl" else {"level": 0, "reversible": True}
    coded = getattr(imagecodecs, codec + "_encode")(frame, numthreads=2, **options)
    assert (getattr(imagecodecs, codec + "_decode")(coded, numthreads=2) == frame).all()
done = []
thread = threading.Thread(target=done.append, args=(1,))
thread.start()
thread.join()
print(done)
"""
    done = python(SHUT_IN + code)
    assert (done.stdout, done.stderr) == ("[1]\n", "")


@needs_filter
def test_a_library_that_aborts_still_ends_the_process() -> None:
    assert python(SHUT_IN + "os.abort()").returncode == -signal.SIGABRT


def test_the_kernel_would_end_it_before_any_receiver() -> None:
    done = python(SHUT_IN + "print(open('/proc/self/oom_score_adj').read())")
    assert done.stdout.split() == ["1000"], done.stderr


def test_what_the_kernel_does_not_do_is_said_and_ends_nothing() -> None:
    code = """
class Other:
    machine = "pdp11"
os.uname = Other
print(sandbox.enter())
"""
    done = python(SHUT_IN.replace('"open" not in', '"never" in') + code)
    assert done.stdout == "('no filter of system calls for pdp11',)\n", done.stderr


def test_memory_ends_in_a_memory_error_and_the_next_object_has_its_own() -> None:
    code = """
from dataclasses import replace
limits = replace(limits, file_bytes=1 << 40)  # room for maps is no room for memory
for _ in range(3):
    kept = None
    sandbox.confine(limits)
    kept = [bytearray(MIB) for _ in range(32)]
    try:
        kept += [bytearray(MIB) for _ in range(64)]
    except MemoryError:
        print("no more")
"""
    done = python(CONFINED + code)
    assert done.stdout == "no more\n" * 3, done.stderr


def test_a_large_frame_gets_room_when_it_is_known_and_never_less() -> None:
    code = """
sandbox.make_room(1)
assert resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY
sandbox.confine(limits)
bytearray(32 * MIB)
sandbox.make_room(MIB)
bytearray(512 * MIB)
sandbox.confine(sandbox.limits(1 << 40))
before = resource.getrlimit(resource.RLIMIT_DATA)
sandbox.make_room(1)
assert resource.getrlimit(resource.RLIMIT_DATA) == before
"""
    done = python(CONFINED + code)
    assert done.returncode == 0, done.stderr


def test_files_that_are_mapped_are_not_taken_for_memory(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 30)
    code = """
from dataclasses import replace
with open(sys.argv[1], "rb") as file:
    limits = replace(limits, file_bytes=1 << 30)
    sandbox.confine(limits)
    maps = [mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) for _ in range(4)]
    try:
        maps += [mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) for _ in range(4)]
    except OSError as error:
        print(error.strerror)
"""
    done = python(CONFINED + code, str(tmp_path / "large"))
    assert done.stdout == "Cannot allocate memory\n", done.stderr


def test_a_file_grows_no_further_than_allowed(tmp_path: Path) -> None:
    code = """
sandbox.confine(limits)
try:
    Path(sys.argv[1]).write_bytes(bytes(2 * MIB))
except OSError as error:
    print(error.strerror)
"""
    done = python(CONFINED + code, str(tmp_path / "file"))
    assert done.stdout == "File too large\n", done.stderr
    assert (tmp_path / "file").stat().st_size == 1 << 20


def test_processor_time_is_counted_over_all_threads_and_anew_for_each_object() -> None:
    code = """
import time
def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
for _ in range(3):
    sandbox.confine(limits)
    burn(0.6)
print("three objects", flush=True)
sandbox.confine(limits)
for _ in range(2):
    threading.Thread(target=burn, args=(30,)).start()
"""
    done = python(CONFINED + code)
    assert (done.returncode, done.stdout) == (-signal.SIGXCPU, "three objects\n"), done.stderr


def test_limits_that_somebody_else_has_set_are_kept() -> None:
    code = """
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
sandbox.confine(sandbox.limits(1 << 34))
assert resource.getrlimit(resource.RLIMIT_AS) == (4 << 30, 4 << 30)
assert resource.getrlimit(resource.RLIMIT_CPU)[1] == int(sys.argv[1])
"""
    done = python(CONFINED + code, str(resource.getrlimit(resource.RLIMIT_CPU)[1]))
    assert done.returncode == 0, done.stderr
