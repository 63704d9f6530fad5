"""From routes and rules to a verdict: laws, and explain that says the same as decide."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venturi.model import AS_RECEIVED, Decision, Envelope, OnFailure, Target
from venturi.rules.condition import Condition
from venturi.rules.decide import DEFAULT_RULE, NO_ROUTE, decide, explain
from venturi.rules.facts import Facts
from venturi.rules.parse import parse

JPEG_LS = Target("1.2.840.10008.1.2.4.80")
RLE = Target("1.2.840.10008.1.2.5")
ALWAYS = Condition()


@dataclass(frozen=True)
class Rule:
    name: str
    when: Condition = ALWAYS
    target: Target = JPEG_LS
    on_failure: OnFailure = OnFailure.KEEP


@dataclass(frozen=True)
class Route:
    to: tuple[str, ...]
    when: Condition = ALWAYS


class Header:
    def __init__(self, modality: str) -> None:
        self.modality = modality

    def values(self, path: tuple[str, ...]) -> tuple[str, ...] | None:
        return (self.modality,) if path == ("00080060",) else None


def facts(modality: str = "CT", calling_ae: str = "A") -> Facts:
    envelope = Envelope(
        "1.2", "1.2.3", "1.2.840.10008.1.2.1", calling_ae, "VENTURI", "peer", "127.0.0.1", 0.0
    )
    return Facts(Header(modality), envelope, 1000)


def when(**tests: Any) -> Condition:
    return parse(tests)


def test_the_first_rule_that_matches_wins() -> None:
    rules = [
        Rule("mr", when(Modality="MR")),
        Rule("ct", when(Modality="CT"), RLE, OnFailure.HOLD),
        Rule("all"),
    ]
    verdict = decide(rules, [Route(("archive",))], facts("CT"))
    assert verdict.decisions == (Decision("archive", "ct", RLE, OnFailure.HOLD),)


def test_each_destination_is_asked_for_itself() -> None:
    rules = [Rule("pacs", when(destination="pacs"), RLE), Rule("rest")]
    verdict = decide(rules, [Route(("archive", "pacs"))], facts())
    assert [(d.destination, d.rule) for d in verdict.decisions] == [("archive", "rest"), ("pacs", "pacs")]


def test_no_rule_means_as_received() -> None:
    verdict = decide([Rule("mr", when(Modality="MR"))], [Route(("archive",))], facts("CT"))
    assert verdict.decisions == (Decision("archive", DEFAULT_RULE, AS_RECEIVED),)


def test_every_route_that_matches_applies_and_destinations_count_once() -> None:
    routes = [
        Route(("a", "b")),
        Route(("x",), when(Modality="MR")),
        Route(("c", "a"), when(Modality="CT")),
    ]
    verdict = decide([], routes, facts("CT"))
    assert [decision.destination for decision in verdict.decisions] == ["a", "b", "c"]


def test_no_route_holds() -> None:
    verdict = decide([], [Route(("a",), when(Modality="MR"))], facts("CT"))
    assert (verdict.held, verdict.discarded, verdict.decisions) == (NO_ROUTE, False, ())


def test_a_route_to_nowhere_discards_unless_another_delivers() -> None:
    nowhere = Route((), when(Modality="CT"))
    assert decide([], [nowhere], facts("CT")).discarded
    assert not decide([], [nowhere], facts("MR")).discarded
    assert not decide([], [nowhere, Route(("a",))], facts("CT")).discarded


def test_routes_are_asked_without_a_destination() -> None:
    asked = replace(facts(), destination="archive")
    assert decide([], [Route(("a",), when(destination="archive"))], asked).held == NO_ROUTE


def test_explain_says_why_earlier_rules_lost() -> None:
    rules = [
        Rule("mr", when(Modality="MR", calling_ae="A")),
        Rule("ct", when(Modality="CT")),
        Rule("never asked"),
    ]
    routes = [Route(("archive",)), Route(("x",), when(calling_ae="B"))]
    explanation = explain(rules, routes, facts("CT"))
    [reason] = explanation.destinations
    assert [(asked.rule, asked.matched) for asked in reason.asked] == [("mr", False), ("ct", True)]
    lost = [(test.text, test.held, test.saw) for test in reason.asked[0].tests]
    assert lost == [("Modality is MR", False, "CT"), ("calling_ae is A", True, "A")]
    assert [(route.number, route.matched) for route in explanation.routes] == [(1, True), (2, False)]


DESTINATIONS = st.sampled_from(["archive", "pacs", "telerad"])
CONDITIONS = st.fixed_dictionaries(
    {},
    optional={
        "Modality": st.sampled_from(["CT", "MR", ["CT", "US"], {"not": "CT"}, {"present": "true"}]),
        "calling_ae": st.sampled_from(["A", "B", {"not": ["A"]}]),
        "destination": DESTINATIONS | DESTINATIONS.map(lambda name: {"not": name}),
    },
).map(parse)
RULES = st.lists(st.tuples(CONDITIONS, st.sampled_from([JPEG_LS, RLE, AS_RECEIVED])), max_size=5).map(
    lambda made: [Rule(f"rule {n}", condition, target) for n, (condition, target) in enumerate(made)]
)
ROUTES = st.lists(st.builds(Route, st.lists(DESTINATIONS, max_size=3).map(tuple), CONDITIONS), max_size=4)
FACTS = st.builds(facts, st.sampled_from(["CT", "MR", "US"]), st.sampled_from(["A", "B"]))


@given(RULES, ROUTES, FACTS)
def test_decide_is_a_pure_function(rules: list[Rule], routes: list[Route], subject: Facts) -> None:
    assert decide(rules, routes, subject) == decide(tuple(rules), tuple(routes), replace(subject))


@given(RULES, ROUTES, FACTS)
def test_the_winner_matches_and_none_before_it_does(
    rules: list[Rule], routes: list[Route], subject: Facts
) -> None:
    for decision in decide(rules, routes, subject).decisions:
        asked = replace(subject, destination=decision.destination)
        matching = [rule.name for rule in rules if rule.when.matches(asked)]
        assert decision.rule == (matching[0] if matching else DEFAULT_RULE)


@given(RULES, ROUTES, FACTS, CONDITIONS)
def test_a_rule_after_the_winners_changes_nothing(
    rules: list[Rule], routes: list[Route], subject: Facts, condition: Condition
) -> None:
    decided = [*rules, Rule("all")]
    assert decide([*decided, Rule("later", condition, RLE)], routes, subject) == decide(
        decided, routes, subject
    )


@given(RULES, ROUTES, FACTS)
def test_an_instance_is_decided_held_or_discarded_and_only_one_of_them(
    rules: list[Rule], routes: list[Route], subject: Facts
) -> None:
    verdict = decide(rules, routes, subject)
    assert [bool(verdict.decisions), bool(verdict.held), verdict.discarded].count(True) == 1
    names = [decision.destination for decision in verdict.decisions]
    assert len(names) == len(set(names))


@given(RULES, ROUTES, FACTS)
def test_explain_says_what_decide_does(rules: list[Rule], routes: list[Route], subject: Facts) -> None:
    explanation = explain(rules, routes, subject)
    assert explanation.verdict == decide(rules, routes, subject)
    for reason in explanation.destinations:
        assert all(asked.matched == all(test.held for test in asked.tests) for asked in reason.asked)
        winners = [asked.rule for asked in reason.asked if asked.matched]
        assert winners in ([], [reason.decision.rule])


@pytest.mark.parametrize("implied", [{}, {"Modality": "CT"}])
def test_a_condition_implies_what_asks_for_less(implied: Any) -> None:
    assert parse({"Modality": "CT", "calling_ae": "A"}).implies(parse(implied))
    assert not parse({"calling_ae": "A"}).implies(parse({"Modality": "CT"}))
