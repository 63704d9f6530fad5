"""What a C-STORE does: the answer is 0000 only when the object is durable in the spool, and never otherwise.

Bytes go into the draft as they come; nothing is decoded. What is wrong with the request, the object or the
disk becomes the status that ``finish`` returns (PS3.4 B.2.3, PS3.7 Annex C), and nothing of the object stays.

    A700        no space, the storage or the ledger failed, the object is too large: trying again can help
    A900        command, presentation context and dataset name different SOP classes or instances
    C000        there is no dataset, or it can't be read and the peer's ``accept.unreadable`` is ``refuse``
    0117, 0118  the SOP Instance UID, the SOP Class UID is not a UID
    0124        the peer's ``accept.deny`` holds
    (0122       the presentation context is not for storage: see ``messages``)

After ``SpoolFailed`` this process takes nothing more (a failed fsync says nothing about what the disk holds);
a restart tries anew: ``failed`` says that one is needed.
"""

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from venturi.config.schema import Accept, Limits
from venturi.dataset.facts import FileHeader, read_header
from venturi.dataset.uids import tolerable_uid
from venturi.errors import Malformed, SpoolFailed, SpoolFull
from venturi.log import get_logger
from venturi.model import Envelope
from venturi.receive.peek import Peek
from venturi.receive.port import Store, StoreRequest
from venturi.receive.recorder import Recorder
from venturi.rules.facts import Facts
from venturi.spool.port import Draft, Intake, Spool

log = get_logger()

SUCCESS = 0x0000
INVALID_SOP_INSTANCE = 0x0117
NO_SUCH_SOP_CLASS = 0x0118
NOT_AUTHORIZED = 0x0124
OUT_OF_RESOURCES = 0xA700
DOES_NOT_MATCH_SOP_CLASS = 0xA900
CANNOT_UNDERSTAND = 0xC000

FREE_CHECKED_EVERY_S = 1.0
PIXELS = 0x7FE00008
"""Where the header ends: Float Pixel Data is the first of those behind it (PS3.6)."""
HEADER_BYTES = 8 << 20
"""A longer header is not looked at by a policy: other associations wait for that."""
REQUIRED = {"00080016": "SOP Class UID", "00080018": "SOP Instance UID"}
OF_STUDIES = {"0020000d": "Study Instance UID", "0020000e": "Series Instance UID"}
"""What an object has that is part of a study (PS3.3 C.7.2.1, C.7.3.1, C.12.1)."""
STUDIES = "1.2.840.10008.5.1.4.1.1."
"""How the SOP classes of such objects begin, but for protocols and inventories (.200, .201)."""
ELSEWHERE = (f"{STUDIES}200.", f"{STUDIES}201.")


def _shown(uid: str) -> str:
    """A UID for the log. What is no UID may be anything, a name too: only its digits and dots are shown."""
    return re.sub(r"[^0-9.]", "?", uid[:80])


class CStore:
    """The handler of one receiver process, used by all its associations at once."""

    def __init__(
        self,
        intake: Intake,
        recorder: Recorder,
        spool: Spool,
        limits: Limits,
        policies: Mapping[str, Accept] | None = None,
    ) -> None:
        """``policies``: what each peer may send; one that has none may send anything."""
        self.intake = intake
        self.policies = dict(policies or {})
        self.recorder = recorder
        self.limits = limits
        self.failed = threading.Event()
        """Set when the storage has failed."""
        self._spool = spool
        self.looking = threading.Lock()
        """Held while a header is read for a policy: one at a time, so that the others go on."""
        self._free_checked_at = float("-inf")
        self._free = True

    def begin(self, request: StoreRequest) -> Store:
        """Begin one C-STORE; see the port."""
        return _Store(self, request)

    def accepting(self) -> bool:
        """Whether new associations should be admitted: storage and ledger work, and there is space."""
        return self.working() and self._space()

    def working(self) -> bool:
        """Whether running associations may go on storing; the watermark does not count here."""
        return not self.failed.is_set() and self.recorder.healthy()

    def fail(self) -> None:
        """Take nothing more in this process."""
        self.failed.set()

    def _space(self) -> bool:
        now = time.monotonic()
        if now - self._free_checked_at >= FREE_CHECKED_EVERY_S:
            self._free_checked_at = now
            try:
                free = self._spool.free_fraction()
            except (OSError, SpoolFull, SpoolFailed) as error:
                log.error("free space unknown: intake stops", error=str(error))
                free = -1.0
            enough = free >= self.limits.min_free
            if enough != self._free:
                log.warning(
                    "intake " + ("goes on" if enough else "stops"), free=free, min_free=self.limits.min_free
                )
            self._free = enough
        return self._free


def _missing(header: FileHeader, class_uid: str) -> str:
    """Which UIDs an object lacks that it should have."""
    of_study = class_uid.startswith(STUDIES) and not class_uid.startswith(ELSEWHERE)
    wanted = {**REQUIRED, **(OF_STUDIES if of_study else {})}
    return ", ".join(name for tag, name in wanted.items() if not _one_uid(header.values((tag,)) or ()))


def _one_uid(values: Sequence[str]) -> bool:
    return len(values) == 1 and tolerable_uid(values[0])


class _Store:
    """One C-STORE operation."""

    def __init__(self, parent: CStore, request: StoreRequest) -> None:
        self._parent = parent
        self._request = request
        self._instance_uid = request.sop_instance_uid.rstrip("\0 ")
        self._class_uid = request.sop_class_uid.rstrip("\0 ")
        self._draft: Draft | None = None
        self._envelope: Envelope | None = None
        self._status = SUCCESS
        self._size_bytes = 0
        self._peek = Peek(request.transfer_syntax)
        self._compared = False
        if not tolerable_uid(self._instance_uid):
            self._refuse(INVALID_SOP_INSTANCE, "the Affected SOP Instance UID is not a UID")
        elif not tolerable_uid(self._class_uid):
            self._refuse(NO_SUCH_SOP_CLASS, "the Affected SOP Class UID is not a UID")
        elif self._class_uid != request.abstract_syntax:
            self._refuse(DOES_NOT_MATCH_SOP_CLASS, "the SOP class is not the presentation context's")
        elif not parent.working():
            self._refuse(OUT_OF_RESOURCES, "intake is stopped")
        else:
            self._guard(self._create)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take dataset bytes; see the port."""
        if self._draft is None:
            return
        self._size_bytes += len(data)
        if self._size_bytes > self._parent.limits.object_bytes:
            self._refuse(
                OUT_OF_RESOURCES, f"the object is larger than {self._parent.limits.object_bytes} bytes"
            )
            return
        if not self._compared:
            self._peek.feed(data)
            if self._peek.full:
                self._compare()
        draft = self._draft
        if draft is not None:
            self._guard(lambda: draft.write(data))

    def finish(self) -> int:
        """The C-STORE status; see the port."""
        if self._draft is not None and self._size_bytes == 0:
            self._refuse(CANNOT_UNDERSTAND, "there is no dataset")
        if self._draft is not None and not self._compared:
            self._compare()
        if self._draft is not None:
            self._guard(self._look)
        if self._draft is not None and not self._parent.working():
            self._refuse(OUT_OF_RESOURCES, "intake is stopped")
        if self._draft is not None:
            self._guard(self._commit)
        return self._status

    def abandon(self) -> None:
        """Leave no trace; see the port."""
        self._discard()

    def _create(self) -> None:
        request = self._request
        self._envelope = Envelope(
            sop_class_uid=self._class_uid,
            sop_instance_uid=self._instance_uid,
            transfer_syntax=request.transfer_syntax,
            calling_ae=request.calling_ae,
            called_ae=request.called_ae,
            peer=request.peer,
            address=request.address,
            received_at=time.time(),
            certificate=request.certificate,
        )
        self._draft = self._parent.intake.create(self._envelope)

    def _look(self) -> None:
        """Refuse what the peer's policy does not want. Only for peers with such a policy is a header read here.

        What can't be read can't be allowed: where something is denied, a header with a fault is, too.
        """
        policy = self._parent.policies.get(self._request.peer)
        if policy is None or (policy.deny is None and policy.unreadable == "keep"):
            return
        assert self._draft is not None and self._envelope is not None  # noqa: S101, PT018 - finish() has looked
        with self._parent.looking:
            try:
                with read_header(self._draft.path, PIXELS, HEADER_BYTES) as header:
                    fault = header.fault is not None
                    missing = _missing(header, self._class_uid)
                    denied = policy.deny is not None and (
                        fault or policy.deny.matches(Facts(header, self._envelope, self._size_bytes))
                    )
            except Malformed:  # not even the file meta group that we wrote
                fault, missing, denied = True, "", policy.deny is not None
        if denied:
            self._refuse(NOT_AUTHORIZED, "denied by policy" + (": its header can't be read" if fault else ""))
        elif policy.unreadable == "refuse" and (fault or missing):
            self._refuse(CANNOT_UNDERSTAND, "its header can't be read" if fault else f"no proper {missing}")

    def _commit(self) -> None:
        assert self._draft is not None  # noqa: S101 - finish() has looked
        instance = self._draft.commit()
        self._draft = None
        self._parent.recorder.add(instance)

    def _compare(self) -> None:
        self._compared = True
        sop_class, sop_instance = self._peek.uids()
        if sop_instance is not None and sop_instance != self._instance_uid:
            self._refuse(DOES_NOT_MATCH_SOP_CLASS, "command and dataset name different SOP instances")
        elif sop_class is not None and sop_class != self._class_uid:
            self._refuse(DOES_NOT_MATCH_SOP_CLASS, "command and dataset name different SOP classes")

    def _guard(self, step: Callable[[], None]) -> None:
        """Run a step on the spool; whatever it raises becomes A700, and SpoolFailed stops intake."""
        try:
            step()
        except SpoolFull as error:
            self._refuse(OUT_OF_RESOURCES, str(error))
        except SpoolFailed as error:
            self._parent.fail()
            log.critical("storage failed: this receiver takes nothing more", error=str(error))
            self._refuse(OUT_OF_RESOURCES, str(error))
        except Exception as error:  # the sender must get an answer, whatever happened, and must not get 0000
            log.exception("spool raised what it should not")
            self._refuse(OUT_OF_RESOURCES, type(error).__name__)

    def _refuse(self, status: int, why: str) -> None:
        self._status = status
        self._discard()
        log.warning(
            "object refused",
            status=f"{status:04X}",
            why=why,
            peer=self._request.peer,
            sop_class_uid=_shown(self._request.sop_class_uid),
            sop_instance_uid=_shown(self._request.sop_instance_uid),
            size_bytes=self._size_bytes,
        )

    def _discard(self) -> None:
        draft, self._draft = self._draft, None
        if draft is None:
            return
        try:
            draft.discard()
        except Exception:  # the answer stands already; what is left is for the next sweep
            log.exception("partial object not removed; the next start's sweep will")
