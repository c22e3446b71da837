"""From records to the volume model: tails, heavy callers, costs, and what must not be learned."""

import random
from collections.abc import Iterator, Sequence

import pytest

from authz_server.engine.call import Caller
from authz_server.engine.counters import Counters
from authz_server.engine.pace import METERS, Footprint, to_footprint
from authz_server.engine.record import CallRecord, to_parsed_call
from authz_server.engine.volume import Excess, ReadyVolume, VolumeModel, own_key
from tests.factories_engine import NOON, WORKLOAD, record
from trainer.endpoint_cost import CostLearner
from trainer.fit_volume import VolumeLearner, to_tail

HOUR = 3600.0
BUDGET = 1e-3


def endpoint_of(made: CallRecord) -> str:
    return "GET /items/{*}" if made.path.startswith("/items/") else f"GET {made.path}"


def learn(records: Sequence[CallRecord]) -> VolumeModel | None:
    costs = CostLearner()
    for made in records:
        costs.update(made, endpoint_of(made))
    learner = VolumeLearner(costs, records[0].ts, records[-1].ts)
    for made in records:
        learner.update(made, to_parsed_call(made), endpoint_of(made))
    return learner.finish()


def visitor(rng: random.Random, name: str, start: float) -> Iterator[CallRecord]:
    ts = start
    for _ in range(rng.randrange(3, 40)):
        ts += rng.uniform(0.2, 15.0)
        yield record("GET", f"/items/{rng.randrange(1000, 1040)}", ts=ts, session=name, address=f"a-{name}")


def batch(start: float, calls: int = 400) -> Iterator[CallRecord]:
    for number in range(calls):
        yield record("GET", f"/items/{number + 1000}", ts=start + number * 0.7, session="batch", address="")


def shop(seed: int = 1, days: int = 6) -> list[CallRecord]:
    rng = random.Random(seed)
    made = [one for number in range(days * 24) for one in visitor(rng, f"v{seed}-{number}", NOON + number * HOUR)]
    made += [one for day in range(days) for one in batch(NOON + (day * 24 + 1.5) * HOUR)]
    return sorted(made, key=lambda one: one.ts)


def judged(model: VolumeModel, records: Sequence[CallRecord]) -> list[Excess]:
    ready, counters, found = ReadyVolume(model), Counters(), []
    for made in records:
        endpoint = endpoint_of(made)
        footprint = to_footprint(to_parsed_call(made), endpoint, (1,) if "{*}" in endpoint else (), ready.cost(endpoint))
        paces = counters.visit(made.workload, made.session, made.address, made.ts, footprint)
        if made.status is not None and made.status >= 400:
            counters.fail(made.workload, made.session, made.address, made.ts)
        excess = ready.judge(Caller("", made.session, made.address), paces, made.ts)
        if excess is not None and excess.p_value <= BUDGET:
            found.append(excess)
    return found


@pytest.fixture(scope="module")
def learned() -> VolumeModel:
    model = learn(shop())
    assert model is not None
    return model


def test_normal_traffic_of_other_days_is_not_refused(learned: VolumeModel) -> None:
    assert [] == judged(learned, shop(seed=2, days=3))


def test_a_batch_job_keeps_its_own_normal_and_does_not_stretch_that_of_others(learned: VolumeModel) -> None:
    calls = METERS.index(("calls", 60.0))
    own, others = learned.own[own_key("session", next(batch(NOON)).session)], learned.sessions
    assert others is not None
    assert own.tails[calls].levels[-1].count > 80
    assert others.tails[calls].levels[-1].count < 40
    same = list(batch(NOON))
    other = [record("GET", "/items/7", ts=one.ts, session="somebody", address="") for one in same]
    assert ([], True) == (judged(learned, same), len(judged(learned, other)) > 100)


@pytest.mark.parametrize("number", range(4))
def test_a_flood_a_scan_an_enumeration_and_failed_logins_are_refused(learned: VolumeModel, number: int) -> None:
    def made(at: int) -> CallRecord:
        ts = NOON + at
        return [
            lambda: record("GET", "/items/7", ts=NOON + at * 0.02, session="x", address=""),
            lambda: record("GET", f"/{'abcdefgh'[at % 8]}x/{at}", ts=ts, session="x", address="", status=404),
            lambda: record("GET", f"/items/{5000 + at}", ts=ts, session="x", address=""),
            lambda: record("GET", "/login", ts=ts, session=f"x{at}", address="one", status=401),
        ][number]()

    assert len(judged(learned, [made(at) for at in range(600)])) > 200


def test_who_is_new_is_not_refused_for_what_others_try(learned: VolumeModel) -> None:
    assert learned.workload is not None
    errors = METERS.index(("errors", 600.0))
    scan = [
        record("GET", f"/{'abcdefgh'[at % 8]}x/{at}", ts=NOON + at, session=f"s{at % 100}", address="", status=404)
        for at in range(600)
    ]
    someone = [record("GET", "/items/1001", ts=NOON + 600 + at, session="new", address="") for at in range(3)]
    counters = Counters()
    for made in scan:
        counters.visit(made.workload, made.session, "", made.ts, to_footprint(to_parsed_call(made), "", (), 1.0))
        counters.fail(made.workload, made.session, "", made.ts)

    assert counters.visit(WORKLOAD, "new", "", NOON + 599, Footprint()).workload.counts[errors] > 400
    assert [] == [excess for excess in judged(learned, [*scan, *someone]) if excess.whose == "the workload"]


def test_few_calls_of_a_dear_page_weigh_what_they_cost(learned: VolumeModel) -> None:
    assert {} == learned.costs
    dear = [*shop(), *(record("GET", "/report", ts=NOON + 6 * 24 * HOUR + n, session=f"r{n}", address="") for n in range(8))]
    dear = [record_with(one, 800_000.0 if one.path == "/report" else 4_000.0) for one in dear]
    model = learn(dear)
    assert model is not None
    assert model.costs["GET /report"] > 50
    found = judged(model, [record("GET", "/report", ts=NOON + n * 6, session="x", address="") for n in range(60)])
    assert "pace_cost" in {one.code.value for one in found}


def record_with(made: CallRecord, size: float) -> CallRecord:
    return CallRecord(**{**{name: getattr(made, name) for name in made.__struct_fields__}, "resp_size": int(size)})


def test_calls_without_a_clock_or_without_callers_teach_no_volume() -> None:
    numbered = [record(ts=float(number), session=f"s{number // 5}", address="") for number in range(2000)]
    nobody = [record(ts=NOON + number * 60, session="", address="") for number in range(2000)]
    assert (None, None) == (learn(numbered), learn(nobody))


@pytest.mark.parametrize(("seconds", "known"), [(30.0, {10.0}), (900.0, {10.0, 60.0}), (2400.0, {10.0, 60.0, 600.0})])
def test_a_window_is_known_once_it_has_filled_a_few_times(seconds: float, known: set[float]) -> None:
    records = [record("GET", "/cart", session=f"s{number % 40}", ts=NOON + seconds * number / 400) for number in range(400)]
    made = learn(records)
    assert made is not None
    assert made.sessions is not None
    assert made.workload is None
    assert known == {meter.window for meter, tail in zip(METERS, made.sessions.tails, strict=True) if tail.levels}


def test_of_callers_that_come_and_go_all_windows_are_known() -> None:
    made = learn([record("GET", "/cart", session=f"s{number // 10}", ts=NOON + 0.25 * number) for number in range(400)])
    assert made is not None
    assert made.sessions is not None
    assert all(tail.levels for tail in made.sessions.tails)


def test_too_few_blocks_teach_no_volume() -> None:
    assert learn([record(ts=NOON + number, session=f"s{number % 5}", address="") for number in range(50)]) is None


def test_the_same_calls_give_the_same_model(learned: VolumeModel) -> None:
    assert learned == learn(shop())


def test_address_counts_only_where_it_is_not_the_session() -> None:
    same = [record(ts=NOON + number * 30, session=f"s{number % 50}", address=f"s{number % 50}") for number in range(2000)]
    model = learn(same)
    assert model is not None
    assert (True, None) == (model.sessions is not None, model.addresses)


def test_a_tail_covers_what_was_seen_and_one_day_says_less_than_many() -> None:
    rng = random.Random(3)
    counts = sorted((rng.paretovariate(4.0) * 10 for _ in range(2000)), reverse=True)
    many, one = to_tail(counts, list(range(2000))), to_tail(counts, ["day"] * 2000)
    assert (round(counts[0], 3), True) == (many.levels[-1].count, many.levels[-1].share >= 1 / 2001)
    assert 0.1 < many.scale < one.scale <= 0.4
    shares = [level.share for level in many.levels]
    assert sorted(shares, reverse=True) == shares


def test_a_constant_count_has_a_tail_too() -> None:
    tail = to_tail([7.0] * 100, list(range(100)))
    assert (1, 7.0) == (len(tail.levels), tail.levels[0].count)
    assert tail.scale > 0


def test_the_workload_is_profiled_by_the_hour_of_the_week_when_there_are_weeks() -> None:
    made = [
        record(ts=NOON + hour * HOUR + number * 20, session=f"s{hour}-{number}", address="")
        for hour in range(24 * 22)
        for number in range(40 if hour % 24 < 8 else 4)
    ]
    model = learn(made)
    short = learn(made[: len(made) // 4])
    assert model is not None
    assert short is not None
    assert (168, ()) == (len(model.week), short.week)
    assert max(model.week) > 2 * min(model.week)
    assert WORKLOAD == made[0].workload
