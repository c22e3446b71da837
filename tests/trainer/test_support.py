"""Who stands behind a value."""

import random
from collections.abc import Callable, Iterable
from functools import reduce

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.partition import merged, parts_of
from trainer.support import QUORUM, UNSEEN, CallerCounts, Counter, Quorum, Support, rare_callers, to_support

NOBODY = Quorum()
HEAVY = Quorum(["gateway"])


def support(*callers: str) -> Support:
    return together(to_support(caller) for caller in callers)


def together(supports: Iterable[Support]) -> Support:
    return reduce(Support.plus, supports, UNSEEN)


CASES = [
    ((), NOBODY, False),
    (("a",), NOBODY, False),
    (("a",) * 1_000, NOBODY, False),
    (("a", "b") * 1_000, NOBODY, False),
    (("a", "b", "c"), NOBODY, True),
    (("a", "b", "c", "d"), NOBODY, True),
    (("", ""), NOBODY, False),
    (("", "", ""), NOBODY, True),
    (("a", "b", ""), NOBODY, True),
    (("gateway",) * 3, NOBODY, False),
    (("gateway",) * 2, HEAVY, False),
    (("gateway",) * 3, HEAVY, True),
    (("a",) * 3, HEAVY, False),
    (("gateway", "a", "a"), HEAVY, True),
]


@pytest.mark.parametrize(("callers", "quorum", "normal"), CASES)
def test_quorum(callers: tuple[str, ...], quorum: Quorum, normal: bool) -> None:
    assert normal == quorum.has(support(*callers))


def test_support_keeps_no_more_callers_than_it_needs() -> None:
    made = support(*[f"c{number}" for number in range(10_000)])
    assert (len(made.callers), made.count) == (QUORUM, 10_000)


WINDOWS = [
    ((0, 0, 0), 1, True),
    ((0, 0, 0), 2, False),
    ((0, 31, 0), 2, True),
    ((0, 1, 2), 3, True),
    ((5, 5, 6), 3, False),
]


@pytest.mark.parametrize(("windows", "wanted", "normal"), WINDOWS)
def test_quorum_needs_separate_windows_too(windows: tuple[int, ...], wanted: int, normal: bool) -> None:
    made = together(to_support(caller, window) for caller, window in zip("abc", windows, strict=True))
    assert normal == Quorum(windows=wanted).has(made)


Fingerprint = tuple[int, int, int, int, frozenset[str]]


def fingerprint(made: Support) -> Fingerprint:
    """Everything that a decision may lean on: which callers only where there is no quorum of them."""
    callers = len(made.callers)
    return made.count, made.anonymous, made.windows, callers, frozenset(made.callers) if callers < QUORUM else frozenset()


CALLERS = st.lists(st.sampled_from(["", "a", "b", "c", "d"]), max_size=12)
SEEN = st.lists(st.tuples(st.sampled_from(["", "a", "b", "c", "d"]), st.integers(0, 31)), max_size=12)


@given(SEEN, st.integers(1, 4), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_support_does_not_depend_on_the_cut(seen: list[tuple[str, int]], parts: int, rng: random.Random) -> None:
    whole = together(to_support(*one) for one in seen)
    cut = [together(to_support(*one) for one in part) for part in parts_of(seen, parts, rng)]
    rng.shuffle(cut)
    assert whole == together(cut)


def counter(pairs: Iterable[tuple[int, str]], limit: int = 5) -> Counter[int]:
    made: Counter[int] = Counter(limit)
    for value, caller in pairs:
        made.add(value, caller)
    return made


def counted(made: Counter[int]) -> tuple[bool, dict[int, Fingerprint], list[int], int]:
    values = {value: fingerprint(found) for value, found in made.values.items()}
    return made.overflowed, values, sorted(made.normal(HEAVY)), made.rare(HEAVY)


PAIRS = st.lists(st.tuples(st.integers(0, 7), st.sampled_from(["", "a", "b", "c", "d", "gateway"])), max_size=20)


@given(PAIRS, st.integers(1, 4), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_counter_does_not_depend_on_the_cut_not_even_where_it_overflows(
    pairs: list[tuple[int, str]], parts: int, rng: random.Random
) -> None:
    make: Callable[[], Counter[int]] = lambda: Counter(5)  # noqa: E731
    cut = merged(make, lambda made, pair: made.add(*pair), parts_of(pairs, parts, rng), rng)
    assert counted(counter(pairs)) == counted(cut)


def test_counter_at_its_limit_is_exact_and_beyond_it_keeps_nothing() -> None:
    full = counter((value, "a") for value in range(5))
    assert (full.overflowed, len(full.values)) == (False, 5)
    over = counter((value, "a") for value in range(1_000))
    assert (over.overflowed, len(over.values), over.rare(NOBODY), over.normal(NOBODY)) == (True, 0, 0, [])


RARE = [
    ("nothing", [], NOBODY, 0),
    ("one caller, many novelties: one vote", [("a",)] * 1_000, NOBODY, 1),
    ("two callers", [("a",), ("b", "a")], NOBODY, 2),
    ("anonymous calls: a vote each", [("",), ("", "")], NOBODY, 3),
    ("what is normal isn't new", [("a", "b", "c"), ("d",)], NOBODY, 1),
    ("a heavy caller: a vote a call", [("gateway",), ("gateway", "gateway")], HEAVY, 3),
]


@pytest.mark.parametrize(("supports", "quorum", "votes"), [case[1:] for case in RARE], ids=[case[0] for case in RARE])
def test_rare_callers(supports: list[tuple[str, ...]], quorum: Quorum, votes: int) -> None:
    assert votes == rare_callers([support(*callers) for callers in supports], quorum)


def test_a_heavy_caller_is_one_with_a_twentieth_of_the_calls() -> None:
    counts = CallerCounts()
    for number in range(1_000):
        counts.add("gateway" if number < 50 else "almost" if number < 99 else f"c{number}")
    assert frozenset({"gateway"}) == counts.finish().heavy


def test_anonymous_calls_count_in_the_whole_and_are_no_caller() -> None:
    counts = CallerCounts()
    for number in range(100):
        counts.add("a" if number < 4 else "")
    assert frozenset() == counts.finish().heavy


@given(CALLERS, st.integers(1, 4), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_caller_counts_do_not_depend_on_the_cut(callers: list[str], parts: int, rng: random.Random) -> None:
    whole = CallerCounts()
    for caller in callers:
        whole.add(caller)
    cut = merged(CallerCounts, lambda made, caller: made.add(caller), parts_of(callers, parts, rng), rng)
    assert whole.finish().heavy == cut.finish().heavy


def test_one_caller_can_not_blind_a_counter_by_inventing_values() -> None:
    made: Counter[int] = Counter(64)
    for value in range(1_000):
        made.add(value, "attacker")
        made.add(-1 - value % 3, f"caller {value}")

    assert not made.overflowed
    assert {-1, -2, -3} == set(made.normal(NOBODY))
    assert 1 == made.rare(NOBODY)


def caller_counts(behind: Iterable[tuple[str, str, int]]) -> CallerCounts:
    """Count calls (principal, caller, window) among very many of others, so that nobody has a twentieth of them."""
    made = CallerCounts()
    made.add("", 1_000_000)
    for principal, caller, window in behind:
        made.add(caller)
        made.behind(principal, caller, window)
    return made


SERVICES = [
    ("a service in five windows", [("mail", "pod", window) for window in range(5)], {"pod"}),
    ("with two replicas", [("mail", f"pod-{window % 2}", window) for window in range(5)], {"pod-0", "pod-1"}),
    ("lately only", [("mail", "pod", window) for window in (28, 29, 30, 31)] * 50, set()),
    ("a gateway, with people behind it", [("gateway", f"person {window % 3}", window) for window in range(32)], set()),
]


@pytest.mark.parametrize(("behind", "heavy"), [case[1:] for case in SERVICES], ids=[case[0] for case in SERVICES])
def test_services_count_as_populations(behind: list[tuple[str, str, int]], heavy: set[str]) -> None:
    assert frozenset(heavy) == caller_counts(behind).finish().heavy


CERTIFICATES = st.tuples(st.sampled_from(["", "mail", "gateway"]), st.sampled_from(["a", "b", "c", "d"]), st.integers(0, 31))


@given(st.lists(CERTIFICATES, max_size=30), st.integers(1, 4), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_services_do_not_depend_on_the_cut(behind: list[tuple[str, str, int]], parts: int, rng: random.Random) -> None:
    def add(made: CallerCounts, one: tuple[str, str, int]) -> None:
        made.behind(*one)

    cut = merged(CallerCounts, add, parts_of(behind, parts, rng), rng)
    whole = merged(CallerCounts, add, [behind], rng)
    assert whole.finish().heavy == cut.finish().heavy
