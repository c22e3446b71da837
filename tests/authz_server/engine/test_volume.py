"""Is a pace normal: chances, limits, whose normal holds, and who is refused in a flood."""

from typing import Any

import pytest

from authz_server.engine.call import Caller
from authz_server.engine.finding import FindingCode
from authz_server.engine.pace import METERS, NO_COUNTS, NO_PACES, Counts, Paces, to_footprint
from authz_server.engine.volume import (
    MOST_GROWTH,
    NEW_SECONDS,
    OFFSET,
    SHARE,
    Excess,
    Level,
    ReadyVolume,
    Tail,
    VolumeModel,
    chance,
    level_at,
    own_key,
    retry_after,
    to_surprise,
)
from tests.factories_engine import call, normal

NOON = 1_750_000_200.0
CALLER = Caller("", "5e5510", "add4e5")
TAIL = Tail((Level(20.0, 0.1), Level(40.0, 0.02), Level(64.0, 0.002)), 0.2)


def model(**changes: Any) -> VolumeModel:
    return VolumeModel(**{"block": 3600.0, "costs": {"GET /report": 9.0}, "sessions": normal(), **changes})


def counts(calls: float = 1.0, age: float = 10_000.0, **others: float) -> Counts:
    return Counts(age, tuple([others.get(meter.counter, calls if meter.counter == "calls" else 0.0) for meter in METERS]))


def judge(model_: VolumeModel, paces: Paces, ts: float = NOON) -> Excess | None:
    return ReadyVolume(model_).judge(CALLER, paces, ts)


@pytest.mark.parametrize(
    ("count", "share"),
    [(0, 1.0), (20, 1.0), (21, 0.1), (40, 0.1), (41, 0.02), (64, 0.02), ((64 + OFFSET) * MOST_GROWTH + 1, 1e-12)],
)
def test_a_chance_is_the_share_of_blocks_that_reached_the_count(count: float, share: float) -> None:
    assert share == chance(TAIL, 1000, count)


def test_beyond_the_highest_count_chances_fall_as_a_power_of_it() -> None:
    twice = chance(TAIL, 1000, 2 * (64 + OFFSET) - OFFSET)
    assert pytest.approx(0.002 * 2 ** (-1 / 0.2)) == twice


@pytest.mark.parametrize("share", [0.05, 0.01, 0.001, 1e-5, 1e-7])
def test_a_limit_is_the_inverse_of_the_chance(share: float) -> None:
    limit = level_at(TAIL, share)
    assert chance(TAIL, 1000, limit * 0.999 - 0.001) > share or limit == TAIL.levels[-1].count
    assert chance(TAIL, 1000, limit * 1.001 + 0.001) <= share * 1.01


def test_a_normal_pace_is_not_told() -> None:
    assert judge(model(), Paces(counts(30.0))) is None


def test_a_caller_over_all_callers_normal_is_told_in_words() -> None:
    found = judge(model(), Paces(counts(812.0)))
    assert found is not None
    surprise = to_surprise(found)
    assert found.p_value < 1e-6
    assert ("812 calls in 10 s", "at most 64", 48_211) == (surprise.seen, surprise.normal, surprise.evidence)
    assert (FindingCode.PACE_CALLS, "pace:its callers") == (surprise.code, surprise.key)


@pytest.mark.parametrize(
    ("counter", "code"),
    [
        ("cost", FindingCode.PACE_COST),
        ("errors", FindingCode.PACE_ERRORS),
        ("endpoints", FindingCode.PACE_ENDPOINTS),
        ("values", FindingCode.PACE_VALUES),
    ],
)
def test_each_counter_has_its_reason(counter: str, code: FindingCode) -> None:
    found = judge(model(), Paces(counts(**{counter: 900.0})))
    assert found is not None
    assert code == found.code


def test_a_heavy_caller_is_held_against_its_own_normal() -> None:
    own = {own_key("session", CALLER.session): normal(1000.0)}
    assert judge(model(own=own), Paces(counts(900.0))) is None
    quiet = {own_key("session", CALLER.session): normal(2.0)}
    found = judge(model(own=quiet), Paces(counts(60.0)))
    assert found is not None
    assert "itself" == found.whose


def test_who_changes_its_session_is_seen_by_its_address() -> None:
    found = judge(model(addresses=normal()), Paces(counts(1.0, age=0.0), counts(900.0)))
    assert found is not None
    assert "its addresses" == found.whose


def test_shares_are_taken_for_all_kinds_and_for_volume_itself() -> None:
    tail = normal().tails[0]
    one = judge(model(), Paces(counts(90.0)))
    two = judge(model(addresses=normal()), Paces(counts(90.0)))
    assert one is not None
    assert two is not None
    assert pytest.approx(chance(tail, 1000, 90.0) * 2.0 / SHARE) == one.p_value
    assert pytest.approx(2 * one.p_value) == two.p_value


@pytest.mark.parametrize(
    ("session", "refused"),
    [
        (counts(1.0, age=NEW_SECONDS * 2), False),
        (counts(1.0, age=10.0), True),
        (counts(30.0, age=NEW_SECONDS * 2), True),
        (NO_COUNTS, False),
    ],
    ids=["known-and-usual", "new", "over-its-usual", "nobody-known"],
)
def test_in_a_flood_those_are_refused_who_are_new_or_over_their_usual(session: Counts, *, refused: bool) -> None:
    found = judge(model(workload=normal()), Paces(session, NO_COUNTS, counts(5000.0, age=90_000.0)))
    assert refused == (found is not None and found.p_value < 1e-6)
    assert not refused or (found is not None and found.code is FindingCode.PACE_FLOOD)


@pytest.mark.parametrize(("calls", "own"), [(1.0, False), (900.0, True)])
def test_in_a_flood_what_a_caller_is_refused_for_by_itself_is_told_apart(calls: float, *, own: bool) -> None:
    found = judge(model(workload=normal()), Paces(counts(calls, age=10.0), NO_COUNTS, counts(5000.0, age=90_000.0)))
    assert found is not None
    assert own == (found.own < 1e-6)


def test_nobody_is_new_who_may_have_begun_before_we_watched() -> None:
    assert judge(model(workload=normal()), Paces(counts(1.0, age=10.0), NO_COUNTS, counts(5000.0, age=500.0))) is None


def test_a_heavy_caller_is_not_new_in_a_flood() -> None:
    own = {own_key("session", CALLER.session): normal()}
    assert judge(model(workload=normal(), own=own), Paces(counts(1.0, 10.0), NO_COUNTS, counts(5000.0, age=90_000.0))) is None


def test_a_busy_hour_of_the_week_has_more_room() -> None:
    paces = Paces(counts(1.0, age=10.0), NO_COUNTS, counts(500.0, age=90_000.0))
    assert judge(model(workload=normal(), week=(1.0,) * 168), paces) is not None
    assert judge(model(workload=normal(), week=(10.0,) * 168), paces) is None


def test_without_callers_nothing_is_judged() -> None:
    assert judge(model(), Paces()) is None


@pytest.mark.parametrize(("into", "most"), [(0.0, 20), (9.0, 11)])
def test_a_caller_may_come_back_when_its_window_is_under_the_limit(into: float, most: int) -> None:
    burst = (5000.0, *(1.0,) * (len(METERS) - 1))
    found = judge(model(), Paces(Counts(0.0, burst)), NOON + into)
    assert found is not None
    wait = retry_after(found, 1e-3)
    limit = level_at(found.normal.tails[0], 1e-3 / found.factor)
    later = NOON + into + wait
    left = max(0.0, 1 - (later % 10) / 10) if later - NOON < 20 else 0.0
    assert wait <= most
    assert 5000.0 * left <= limit * 1.2
    assert wait > 10 - into


def test_the_longest_window_that_is_exceeded_says_when_to_come_back() -> None:
    short, long = (judge(model(), Paces(Counts(0.0, (900.0,) * over + (1.0,) * (len(METERS) - over)))) for over in (1, 3))
    assert short is not None
    assert long is not None
    assert retry_after(short, 1e-3) <= 20 < 60 < retry_after(long, 1e-3) <= 120


def test_costs_of_unknown_endpoints_are_average() -> None:
    ready = ReadyVolume(model())
    assert (9.0, 1.0) == (ready.cost("GET /report"), ready.cost(""))


@pytest.mark.parametrize("ts", [NOON, NOON + 3600.0])
@pytest.mark.parametrize("meter", range(len(METERS)))
@pytest.mark.parametrize(("kind", "scope"), [("session", 0), ("address", 1), ("workload", 2)])
@pytest.mark.parametrize("own", [{}, {own_key("session", CALLER.session): normal(9.0)}], ids=["usual", "own"])
def test_up_to_its_limits_nothing_is_told_of_a_caller_and_beyond_it_is(
    own: dict[str, Any], kind: str, scope: int, meter: int, ts: float
) -> None:
    """The workload's limit follows the hour of the week; it judges a caller that is new."""
    week = tuple([0.5 + hour % 3 for hour in range(168)])
    ready = ReadyVolume(model(addresses=normal(3.0), workload=normal(40.0), own=own, week=week))
    caller = CALLER if scope != 2 else Caller("", "another", "add4e5")
    limits = ready.limits(caller, ts)
    limit = getattr(limits, kind)

    def told(count: float) -> bool:
        numbers = tuple([count if number == meter else 0.0 for number in range(len(METERS))])
        nobody = (0.0,) * len(METERS)
        paces = [Counts(age, numbers if one == scope else nobody) for one, age in enumerate((10.0, 10.0, 90_000.0))]
        return ready.judge(caller, Paces(*paces), ts) is not None

    assert [False, True] == [told(limit.near[meter]), told(limit.counts[meter] * 1.01 + 0.01)]


def test_where_nothing_comes_near_its_limits_nothing_is_judged() -> None:
    assert judge(model(workload=normal(1.0)), NO_PACES) is None


@pytest.mark.parametrize(("path", "endpoint"), [("/report", "GET /report"), ("/items/7", "GET /items/{*}"), ("/wp-admin", "")])
def test_a_footprint_is_what_the_trainer_counts(path: str, endpoint: str) -> None:
    ready = ReadyVolume(model(costs={"GET /report": 9.0, "GET /items/{*}": 2.0}))
    made, positions = call("GET", path), (1,) if endpoint.endswith("{*}") else ()
    assert to_footprint(made, endpoint, positions, ready.cost(endpoint)) == ready.footprint(made, endpoint, positions)
