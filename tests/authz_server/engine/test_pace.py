"""Counters of a caller's pace: what they say, what they forget, and what they cost in memory."""

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_server.engine.pace import (
    BITS,
    IDLE_SECONDS,
    LONG,
    METERS,
    MINUTE,
    SHORT,
    CallerPace,
    Counts,
    Footprint,
    to_footprint,
)
from tests.factories_engine import call

START = 1_749_999_600.0
"""A whole multiple of all windows."""
PLAIN = Footprint()


def counts(found: Counts) -> dict[tuple[str, float], float]:
    return {(meter.counter, meter.window): round(count, 6) for meter, count in zip(METERS, found.counts, strict=True)}


def visits(pace: CallerPace, *times: float, footprint: Footprint = PLAIN) -> Counts:
    for ts in times:
        found = pace.visit(START + ts, footprint)
    return found


def test_a_call_counts_itself() -> None:
    found = counts(visits(CallerPace(START), 0, footprint=Footprint(2.5, 3, (7, 9))))
    assert (1, 2.5, 1, 2.5) == (found["calls", SHORT], found["cost", SHORT], found["calls", MINUTE], found["cost", MINUTE])
    assert (1, round(1 + BITS / (BITS - 1), 6), 0) == (found["endpoints", LONG], found["values", LONG], found["errors", LONG])


@pytest.mark.parametrize(
    ("times", "calls"),
    [
        ((0, 1, 2), 3.0),
        ((0, 1, 2, 10), 1 + 3 * 1.0),
        ((0, 1, 2, 15), 1 + 3 * 0.5),
        ((0, 1, 2, 19), 1 + 3 * 0.1),
        ((0, 1, 2, 20), 1.0),
        ((0, 1, 2, 1000), 1.0),
    ],
)
def test_the_bucket_before_counts_as_far_as_the_window_still_covers_it(times: tuple[float, ...], calls: float) -> None:
    assert calls == counts(visits(CallerPace(START), *times))["calls", SHORT]


def test_the_same_thing_counts_once_a_bucket() -> None:
    pace = CallerPace(START)
    for _ in range(50):
        found = pace.visit(START, Footprint(1.0, 5, (6,)))
    assert (1, 1) == (counts(found)["endpoints", LONG], counts(found)["values", LONG])
    assert 1 + 1 * 0.5 == counts(pace.visit(START + LONG * 1.5, Footprint(1.0, 5, (6,))))["endpoints", LONG]


def test_distinct_things_are_estimated_until_the_bitmap_is_full() -> None:
    pace = CallerPace(START)
    estimates = [pace.visit(START, Footprint(1.0, bit)).counts[5] for bit in range(BITS)]
    assert sorted(estimates) == estimates
    assert pytest.approx(sum(BITS / free for free in range(1, BITS + 1))) == estimates[-1]
    assert estimates[-1] == pace.visit(START, Footprint(1.0, 0)).counts[5]


def test_an_error_counts_in_the_bucket_of_its_call() -> None:
    pace = CallerPace(START)
    visits(pace, 0)
    pace.fail(START)
    assert 1 == counts(visits(pace, 1))["errors", LONG]
    visits(pace, LONG)
    pace.fail(START)
    assert 2 * 0.5 == counts(visits(pace, LONG * 1.5))["errors", LONG]
    visits(pace, LONG * 2)
    pace.fail(START)
    assert 0 == counts(visits(pace, LONG * 2.5))["errors", LONG]


def test_age_begins_anew_after_silence_and_after_a_refusal() -> None:
    pace = CallerPace(START)
    assert 100 == visits(pace, 0, 100).age
    pace.refuse(START + 100)
    assert 20 == visits(pace, 120).age
    assert 0 == visits(pace, 121 + IDLE_SECONDS).age


@pytest.mark.parametrize(("after", "short", "minute"), [(5, 3.0, 3.0), (15, 1 + 3 * 0.5, 3.0), (65, 1.0, 1 + 3 * 55 / 60)])
def test_a_call_is_taken_off_while_the_bucket_it_came_in_goes_on(after: float, short: float, minute: float) -> None:
    pace = CallerPace(START)
    visits(pace, 0, 0, 0, after)
    pace.relieve(START, 1.0)
    found = counts(pace.counts())
    assert [round(short, 6), round(short, 6)] == [found["calls", SHORT], found["cost", SHORT]]
    assert [round(minute, 6), round(minute, 6)] == [found["calls", MINUTE], found["cost", MINUTE]]


def test_a_time_that_goes_back_counts_as_the_last_one() -> None:
    assert 3.0 == counts(visits(CallerPace(START), 20, 21, 3))["calls", SHORT]


@settings(max_examples=50, deadline=2000)
@given(st.lists(st.floats(0, 5000), min_size=1, max_size=60))
def test_counts_are_never_more_than_what_two_buckets_hold(times: list[float]) -> None:
    times = sorted(times)
    pace = CallerPace(START + times[0])
    for number, ts in enumerate(times):
        found = counts(pace.visit(START + ts, Footprint()))
        held = sum(1 for one in times[: number + 1] if one > ts - 2 * SHORT)
        within = sum(1 for one in times[: number + 1] if one > ts - 2 * MINUTE)
        assert 1 <= found["calls", SHORT] <= held
        assert 1 <= found["calls", MINUTE] <= within


def test_a_caller_weighs_the_same_however_often_it_calls() -> None:
    def size(calls: int) -> int:
        pace = CallerPace(START)
        visits(pace, *[number * 0.5 for number in range(calls)], footprint=Footprint(1.5, 4, (5,)))
        return sum(sys.getsizeof(getattr(pace, slot)) for slot in CallerPace.__slots__)

    assert size(2000) == size(4000) < 2000


def test_a_footprint_tells_values_of_path_parameters_apart() -> None:
    prints = [to_footprint(call("GET", f"/items/{number}"), "GET /items/{*}", (1,), 2.0) for number in range(100, 140)]
    assert {(2.0, prints[0].endpoint)} == {(one.cost, one.endpoint) for one in prints}
    assert len({one.values for one in prints}) > 30


def test_unknown_paths_are_endpoints_of_their_own() -> None:
    assert 3 == len({to_footprint(call("GET", path), "", (), 1.0).endpoint for path in ("/wp-admin", "/phpinfo", "/backup")})
