"""The paces of all callers: who is counted, who is forgotten, and when there is nothing to judge."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_server.engine.counters import Counters
from authz_server.engine.pace import (
    DISTINCT,
    METERS,
    NO_COUNTS,
    NO_PACES,
    CallerPace,
    Counts,
    Footprint,
    PaceLimits,
    Paces,
    to_limits,
)

START = 1_749_999_600.0
"""A whole multiple of all windows."""


def test_session_address_and_workload_are_counted_apart() -> None:
    counters = Counters()
    counters.visit("shop", "one", "here", START, Footprint())
    found = counters.visit("shop", "two", "here", START, Footprint())
    other = counters.visit("pay", "two", "", START, Footprint())
    assert (1, 2, 2) == (found.session.counts[0], found.address.counts[0], found.workload.counts[0])
    assert (1, NO_COUNTS, 1) == (other.session.counts[0], other.address, other.workload.counts[0])


def test_an_error_and_a_refusal_reach_session_and_address() -> None:
    counters = Counters()
    counters.visit("shop", "one", "here", START, Footprint())
    counters.fail("shop", "one", "here", START)
    counters.fail("shop", "never", "", START)
    counters.refuse("shop", "one", "here", START + 5)
    found = counters.visit("shop", "one", "here", START + 7, Footprint())
    assert (1, 1, 2) == (found.session.counts[4], found.address.counts[4], found.workload.counts[4])
    assert (2, 2, 7) == (found.session.age, found.address.age, found.workload.age)


def test_what_is_refused_on_its_own_account_is_no_load_of_its_workload() -> None:
    counters = Counters()
    for _ in range(5):
        counters.visit("shop", "one", "", START, Footprint(2.0))
        counters.refuse("shop", "one", "", START, 2.0)
    counters.visit("shop", "two", "", START + 12, Footprint(3.0))
    counters.refuse("shop", "two", "", START + 12)
    found = counters.visit("shop", "one", "", START + 12, Footprint())
    assert (6, 11, 2, 4) == (*found.session.counts[2:4], *found.workload.counts[2:4])


def test_callers_are_bounded_and_the_least_recently_active_goes_first() -> None:
    counters = Counters(max_callers=3)
    for session in ("a", "b", "c", "a", "d"):
        found = counters.visit("shop", session, "", START, Footprint())
    again = [counters.visit("shop", session, "", START, Footprint()).session.counts[0] for session in ("a", "b")]
    assert (3, 1, [3, 1]) == (len(counters), found.session.counts[0], again)


def test_only_callers_that_fell_silent_are_forgotten_on_request() -> None:
    counters = Counters()
    for number, session in enumerate(["once", "twice", "twice", "late"]):
        counters.visit("shop", session, "", START + number, Footprint())
    counters.expire(START + 2)
    found = [
        counters.visit("shop", session, "", START + 4, Footprint()).session.counts[0] for session in ("once", "twice", "late")
    ]
    assert [1, 3, 2] == found


def limits(session: float = 1e9, address: float = 1e9, workload: float = 1e9) -> PaceLimits:
    return PaceLimits(*[to_limits((count,) * len(METERS)) for count in (session, address, workload)])


BITS = st.integers(0, 255)
FOOTPRINTS = st.builds(
    Footprint,
    st.one_of(st.just(1.0), st.floats(0.0, 4.0)),
    st.one_of(st.integers(0, 2), BITS),
    st.lists(BITS, max_size=4).map(tuple),
)
CALLS = st.tuples(
    st.sampled_from(["a", "b", "c", "d", ""]),
    st.sampled_from(["x", "y", "z", ""]),
    st.one_of(st.just(0.0), st.floats(-20.0, 20.0), st.sampled_from([10.0, 60.0, 600.0, 1300.0, 1801.0])),
    FOOTPRINTS,
    st.sampled_from(["stays", "stays", "stays", "fails", "the one before fails", "refused"]),
)
LIMITS = st.builds(limits, *[st.floats(0.5, 40.0)] * 3)


@settings(max_examples=200, deadline=None)
@given(st.lists(CALLS, max_size=80), LIMITS, LIMITS)
def test_with_limits_what_exceeds_them_is_told_exactly_and_nothing_else_is_missed(
    calls: list[tuple[Any, ...]], first: PaceLimits, second: PaceLimits
) -> None:
    every, limited, ts = Counters(5), Counters(5), START
    before: tuple[str, str, float] | None = None
    for number, (session, address, after, footprint, fate) in enumerate(calls):
        ts += after
        now = (session, address, ts)
        held = first if number % 20 < 15 else second
        expected = every.visit("shop", *now, footprint)
        found = limited.visit("shop", *now, footprint, held)
        over = [
            count > limit
            for counts, kind in zip(each(expected), (held.session, held.address, held.workload), strict=True)
            for count, limit in zip(counts.counts, kind.counts, strict=False)
        ]
        assert found in ([expected] if any(over) else [expected, NO_PACES])
        for counters in (every, limited):
            if fate == "refused":
                counters.refuse("shop", *now)
            elif fate == "fails":
                counters.fail("shop", *now)
            elif fate != "stays" and before is not None:
                counters.fail("shop", *before)
        before = now


def each(paces: Paces) -> tuple[Counts, Counts, Counts]:
    return paces.session, paces.address, paces.workload


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(0.0, 90.0), FOOTPRINTS, st.booleans()), min_size=1, max_size=30))
def test_a_caller_kept_small_after_its_first_call_is_counted_like_any_other(calls: list[tuple[float, Footprint, bool]]) -> None:
    counters, pace, ts = Counters(), CallerPace(START), START
    for after, footprint, fails in calls:
        ts += after
        assert pace.visit(ts, footprint) == counters.visit("shop", "s", "", ts, footprint).session
        if fails:
            pace.fail(ts)
            counters.fail("shop", "s", "", ts)


def test_far_below_its_limits_nothing_is_told_of_a_caller() -> None:
    counters, far = Counters(), limits()
    assert [NO_PACES] * 5_000 == [counters.visit("shop", "s", "a", START, Footprint(3.0, 1, (2,)), far) for _ in range(5_000)]


@pytest.mark.parametrize(
    ("kinds", "make"),
    [
        ("session", lambda: limits(session=9.5)),
        ("address", lambda: limits(address=9.5)),
        ("workload", lambda: limits(workload=9.5)),
    ],
)
def test_the_call_that_exceeds_a_limit_is_told_with_all_paces(kinds: str, make: Callable[[], PaceLimits]) -> None:
    counters, held = Counters(), make()
    found = [counters.visit("shop", "s", "a", START, Footprint(), held) for _ in range(10)]
    assert [NO_PACES] * 9 == found[:9]
    assert [10.0] * 3 == [counts.counts[0] for counts in each(found[9])], kinds


@pytest.mark.parametrize("footprint", [Footprint(10.0), Footprint(1.0, 0, tuple(range(10)))], ids=["cost", "values"])
def test_a_first_call_may_exceed_a_limit(footprint: Footprint) -> None:
    found = Counters().visit("shop", "s", "", START, footprint, limits(session=9.5))
    assert (1.0, footprint.cost) == found.session.counts[:2]
    assert DISTINCT[len(footprint.values)] == found.session.counts[6]


def test_errors_exceed_a_limit_at_the_next_call() -> None:
    counters, held = Counters(), limits(session=3.5)
    counters.visit("shop", "s", "", START, Footprint(), held)
    for _ in range(4):
        counters.fail("shop", "s", "", START)
    assert 4.0 == counters.visit("shop", "s", "", START, Footprint(), held).session.counts[4]


def test_new_limits_hold_at_once() -> None:
    counters = Counters()
    for _ in range(10):
        counters.visit("shop", "s", "", START, Footprint(), limits())
    assert 11.0 == counters.visit("shop", "s", "", START, Footprint(), limits(session=5.0)).session.counts[0]
