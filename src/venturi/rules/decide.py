"""From facts to a verdict: which destinations, and what each should get. Pure, so that ``explain`` is exact.

Every route that matches applies; a destination named by several counts once, in the order of the routes. For
each destination the rules are asked in order, and the first that matches wins; where none does, the object
goes as received, under the rule name ``(default)``. Nothing is discarded unless a matching route says so
(``to: []``).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from venturi.model import AS_RECEIVED, Decision, OnFailure, Target
from venturi.rules.condition import Condition, Seen
from venturi.rules.facts import Facts
from venturi.rules.fit import NOTHING, Known, fit

DEFAULT_RULE = "(default)"
NO_ROUTE = "no-route"


class Rule(Protocol):
    """What a destination gets, if the conditions hold."""

    @property
    def name(self) -> str:
        """Unique among the rules."""

    @property
    def when(self) -> Condition:
        """Asked once for each destination."""

    @property
    def target(self) -> Target:
        """What it gets."""

    @property
    def on_failure(self) -> OnFailure:
        """And if that can't be made."""


class Route(Protocol):
    """Where instances go, if the conditions hold."""

    @property
    def when(self) -> Condition:
        """Asked once for each instance."""

    @property
    def to(self) -> Sequence[str]:
        """Names of destinations; none discards."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What happens to one instance."""

    decisions: tuple[Decision, ...] = ()
    held: str = ""
    """``no-route`` where no route matches; otherwise empty."""
    discarded: bool = False
    """A route matched, and none that matched names a destination."""


@dataclass(frozen=True, slots=True)
class RouteReason:
    """Why a route applies, or not."""

    number: int
    """From 1, in the order of the file."""
    to: tuple[str, ...]
    matched: bool
    tests: tuple[Seen, ...]


@dataclass(frozen=True, slots=True)
class RuleReason:
    """Why a rule won, or lost."""

    rule: str
    matched: bool
    tests: tuple[Seen, ...]


@dataclass(frozen=True, slots=True)
class DestinationReason:
    """One destination's decision, and every rule asked for it: losers first, then the winner if any."""

    decision: Decision
    asked: tuple[RuleReason, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A verdict with all its reasons. Holds values of the header: for the terminal, never for a log."""

    verdict: Verdict
    routes: tuple[RouteReason, ...]
    destinations: tuple[DestinationReason, ...]


def decide(rules: Sequence[Rule], routes: Sequence[Route], facts: Facts, known: Known = NOTHING) -> Verdict:
    """What happens to an instance with these facts (``facts.destination`` is not looked at).

    ``known``: what destinations take of its SOP class; see ``fit``.
    """
    unaddressed = replace(facts, destination="")
    matching = [route for route in routes if route.when.matches(unaddressed)]
    if not matching:
        return Verdict(held=NO_ROUTE)
    destinations = dict.fromkeys(name for route in matching for name in route.to)
    source = facts.envelope.transfer_syntax
    decisions = tuple(
        fit(decide_for(rules, replace(facts, destination=name)), source, known.get(name, {}))
        for name in destinations
    )
    return Verdict(decisions, discarded=not decisions)


def decide_for(rules: Sequence[Rule], facts: Facts) -> Decision:
    """What ``facts.destination`` gets."""
    rule = next((rule for rule in rules if rule.when.matches(facts)), None)
    if rule is None:
        return Decision(facts.destination, DEFAULT_RULE, AS_RECEIVED)
    return Decision(facts.destination, rule.name, rule.target, rule.on_failure)


def explain(
    rules: Sequence[Rule], routes: Sequence[Route], facts: Facts, known: Known = NOTHING
) -> Explanation:
    """The verdict of ``decide`` with, for each destination, the winner and why each earlier rule lost."""
    verdict = decide(rules, routes, facts, known)
    unaddressed = replace(facts, destination="")
    return Explanation(
        verdict,
        tuple(
            RouteReason(
                number,
                tuple(route.to),
                route.when.matches(unaddressed),
                tuple(route.when.explain(unaddressed)),
            )
            for number, route in enumerate(routes, start=1)
        ),
        tuple(
            DestinationReason(
                decision, tuple(_asked(rules, replace(facts, destination=decision.destination)))
            )
            for decision in verdict.decisions
        ),
    )


def _asked(rules: Sequence[Rule], facts: Facts) -> Iterator[RuleReason]:
    for rule in rules:
        matched = rule.when.matches(facts)
        yield RuleReason(rule.name, matched, tuple(rule.when.explain(facts)))
        if matched:
            return
