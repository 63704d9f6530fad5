"""The tables of receive.py: Markdown, where Venturi's time goes, and the list of what was aimed at."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median

from receive_peers import CONTENDERS, DCMTK, DURABLE, ORTHANC, PYNETDICOM, UNSYNCED

CONTEXTS, LARGE = "CONTEXTS", "LARGE"
DEFAULTS = {"CT": 20.0, "MR": 20.0}
"""From a storescu with its defaults: how many times Orthanc's and DCMTK's rates are aimed at."""
OF_ORTHANC = {1: 2.0, 4: 2.5}
"""Durable, delays taken out, by the number of associations."""
CPU_MS, PEAK_MB, PEAK_AT = 0.5, 150.0, 8
"""For a CT; of the largest process, with so many large objects at once."""


@dataclass
class Measured:
    """What bursts of one kind, at one receiver and by so many associations, showed."""

    rates: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    sender_ms: list[float] = field(default_factory=list)
    """Processor time of the sender, an object."""
    cpu_ms: list[dict[str, tuple[float, float]]] = field(default_factory=list)
    """Processor time by role, user and system, an object."""
    peak_mb: float = 0.0
    failed: str = ""

    @property
    def rate(self) -> float:
        """Objects a second."""
        return median(self.rates)

    def by_role(self) -> dict[str, tuple[float, float]]:
        """Milliseconds an object, user and system."""
        roles = dict.fromkeys(role for burst in self.cpu_ms for role in burst)
        return {
            role: (
                median(burst.get(role, (0.0, 0.0))[0] for burst in self.cpu_ms),
                median(burst.get(role, (0.0, 0.0))[1] for burst in self.cpu_ms),
            )
            for role in roles
        }

    @property
    def cpu(self) -> float:
        """Milliseconds an object, all processes."""
        return median(sum(map(sum, burst.values())) for burst in self.cpu_ms)


@dataclass
class Results:
    """Of one kind."""

    kind: str
    count: dict[int, int]
    size_bytes: int
    unmodified: int = 0
    """How many are sent by storescu with its defaults."""
    sender: dict[int, tuple[float, float]] = field(default_factory=dict)
    """The sender alone, by associations: objects a second, and milliseconds of its processor time for each."""
    measured: dict[tuple[str, int], Measured] = field(default_factory=dict)
    defaults: dict[str, list[float]] = field(default_factory=dict)
    """From storescu with its defaults: images a second."""

    def rate(self, name: str, associations: int) -> float | None:
        found = self.measured.get((name, associations))
        return found.rate if found and found.rates else None

    def table(self) -> str:
        counts = sorted(set(self.count.values()))
        many = ", one an association with 128 contexts," if self.kind == CONTEXTS else ""
        what = "association" if many else "response"
        lines = [
            f"### {self.kind}: {' or '.join(map(str, counts))} of {self.size_bytes:,} bytes{many} a burst\n",
            *(
                f"The sender alone, {_by(number)}: {rate:,.0f}/s, {cpu:.2f} ms of its CPU each."
                for number, (rate, cpu) in self.sender.items()
            ),
            f"\n| receiver | associations | objects/s | MB/s | {what} p50 / p99, ms | CPU ms | sender's CPU ms "
            "| peak RSS, MB |",
            "|---|--:|--:|--:|--:|--:|--:|--:|",
        ]
        for (name, associations), each in self.measured.items():
            if each.failed:
                lines.append(f"| {name} | {associations} | {each.failed} |" + " |" * 5)
                continue
            lines.append(
                f"| {name} | {associations} | {_number(each.rate)} | {each.rate * self.size_bytes / 1e6:.0f} "
                f"| {median(each.p50_ms):.1f} / {median(each.p99_ms):.1f} | {each.cpu:.2f} "
                f"| {median(each.sender_ms):.2f} | {each.peak_mb:.0f} |"
            )
        if self.defaults:
            came = ", ".join(f"{name} {median(rates):.0f}" for name, rates in self.defaults.items())
            lines.append(f"\nUnmodified storescu, one association, images/s: {came}.")
        return "\n".join(lines) + "\n"

    def split(self) -> str:
        """Where Venturi's time goes; empty where it was not measured."""
        ours = {
            key: each for key, each in self.measured.items() if key[0] in (DURABLE, UNSYNCED) and each.rates
        }
        if not ours:
            return ""
        lines = [
            f"Where the time of {self.kind} goes, ms an object; processor time is user + system:\n",
            "| receiver | associations | wall, by each association | of it without syncs | sender "
            "| receivers | other processes |",
            "|---|--:|--:|--:|--:|--:|---|",
        ]
        for (name, associations), each in ours.items():
            roles = each.by_role()
            receive = roles.pop("receive", (0.0, 0.0))
            others = ", ".join(f"{role} {user:.2f} + {system:.2f}" for role, (user, system) in roles.items())
            bare = self.rate(UNSYNCED, associations) if name == DURABLE else None
            lines.append(
                f"| {name} | {associations} | {associations * 1000 / each.rate:.2f} "
                f"| {f'{associations * 1000 / bare:.2f}' if bare else ''} | {median(each.sender_ms):.2f} "
                f"| {receive[0]:.2f} + {receive[1]:.2f} | {others} |"
            )
        return "\n".join(lines) + "\n"

    def aims(self) -> Iterator[str]:
        """Rows of the last table: what was aimed at, the figure, and whether it was reached."""
        for associations in self.count:
            where = f"{self.kind}, {_by(associations)}"
            fastest = max((self.rate(name, associations) or 0.0 for name in CONTENDERS), default=0.0)
            if fastest and associations in self.sender:
                times = self.sender[associations][0] / fastest
                yield _aim(f"{where}: the sender alone to the fastest receiver, at least", times, 1.0)
            if self.kind == CONTEXTS:
                yield from self._times(where, associations, DURABLE, ORTHANC, 1.0)
                continue
            yield from self._times(where, associations, UNSYNCED, DCMTK, 1.0)
            if associations in OF_ORTHANC:
                yield from self._times(where, associations, DURABLE, ORTHANC, OF_ORTHANC[associations])
            yield from self._times(where, associations, DURABLE, PYNETDICOM, 1.0)
            found = self.measured.get((DURABLE, associations))
            if found is None or not found.rates:
                continue
            if self.kind == "CT":
                yield _aim(f"{where}: CPU of {DURABLE}, ms a CT, at most", found.cpu, CPU_MS, most=True)
            if self.kind == LARGE and associations == PEAK_AT:
                words = f"{where}, all at once: RSS of a receiver, MB, under"
                yield _aim(words, found.peak_mb, PEAK_MB, most=True)
        for other in (ORTHANC, DCMTK):
            if self.kind in DEFAULTS and {DURABLE, other} <= self.defaults.keys():
                times = median(self.defaults[DURABLE]) / median(self.defaults[other])
                words = f"{self.kind}, from an unmodified storescu: {DURABLE} to {other}, at least"
                yield _aim(words, times, DEFAULTS[self.kind])

    def _times(self, where: str, associations: int, one: str, other: str, least: float) -> Iterator[str]:
        ours, theirs = self.rate(one, associations), self.rate(other, associations)
        if ours and theirs:
            yield _aim(f"{where}: {one} to {other}, at least", ours / theirs, least)


def aims(results: list[Results]) -> str:
    """The list of what was aimed at, with the figures beside it."""
    rows = [row for each in results for row in each.aims()]
    return "\n".join(["| aim | measured | reached |", "|---|--:|---|", *rows])


def _by(associations: int) -> str:
    return f"{associations} association{'s' * (associations > 1)}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _aim(words: str, found: float, limit: float, *, most: bool = False) -> str:
    reached = found <= limit if most else found >= limit
    return f"| {words} {limit:g} | {found:.{0 if found >= 100 else 2}f} | {'yes' if reached else 'no'} |"
