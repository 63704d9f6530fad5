"""Every error Venturi raises knows whether trying again can help.

``Temporary``: the same call may succeed later (a full disk, a peer that is down). ``Permanent``: it will not,
until a person or another program changes something. ``ConfigError``: the configuration says something that can't
be done; the message is already ``file:line:column: what, and what to do``.

An error is raised with the facts, and logged once, at the boundary that handles it, with the instance's id.
"""


class VenturiError(Exception):
    """The root of all errors of this package; never raised itself."""


class Temporary(VenturiError):
    """Trying again later can help: nothing about the object or the request itself is wrong."""


class Permanent(VenturiError):
    """Trying again cannot help: the object, the request or the peer's answer must change first."""


class SpoolFull(Temporary):
    """No space or no inodes left for an object; the partial file has been removed."""


class SpoolFailed(Permanent):
    """The storage under the spool failed (an fsync returned an error): the process takes nothing more.

    A receiver is started anew when the storage has shown that it works: each object is synced for itself, so what a
    failed sync took was never acknowledged.
    """


class Damaged(Permanent):
    """A stored object is not what its name says it is (length or SHA-256 differ); it is moved to ``corrupt/``."""


class Malformed(Permanent):
    """Bytes that should be a DICOM dataset or Part 10 file are not, or lie about their own lengths."""


class LedgerNewer(Permanent):
    """The ledger was written by a newer Venturi: this one refuses to touch it."""


class ConfigError(VenturiError):
    """The configuration can't be used; ``problems`` holds every mistake found, each with its place."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
