"""From calls to models, end to end: a small shop, its customers, and those who aren't."""

import random
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from authz_server.bundle import load_bundle
from authz_server.engine.errors import BundleError, SettingError, StoreError, TrainingError
from authz_server.engine.finding import FindingCode
from authz_server.engine.history import IDLE_SECONDS, CallerHistory, History, add_step
from authz_server.engine.model import ReadyModel, WorkloadModel, decode_model, encode_model
from authz_server.engine.record import CallRecord, to_parsed_call
from tests.factories_engine import FORM, JSON, NOON, PRINCIPAL, WORKLOAD, call, judge, record
from trainer import spool
from trainer.description import encode_description
from trainer.store_writer import StoreWriter
from trainer.train import learn_calls, train, train_calls

BUDGET = 1e-2
COLORS = ("red", "blue", "green", "black")
ITEMS = [f"/items/{1000 + number}" for number in range(60)]


def login(rng: random.Random) -> dict[str, Any]:
    name, secret = rng.choice(["ann", "bob", "cid", "dora"]), "x" * rng.randrange(6, 14)
    return {"method": "POST", "target": "/login", "headers": FORM, "body": f"user={name}&password={secret}".encode()}


def browse(rng: random.Random) -> dict[str, Any]:
    query = rng.choice(["", f"?color={rng.choice(COLORS)}", f"?color={rng.choice(COLORS)}&page={rng.randrange(1, 9)}"])
    return {"method": "GET", "target": rng.choice(ITEMS) + query, "headers": {"accept": "*/*"}}


def add(rng: random.Random) -> dict[str, Any]:
    note = rng.choice(["", ',"note":"gift"', ',"note":"to the door"'])
    body = f'{{"item":{rng.randrange(1000, 1060)},"count":{rng.randrange(1, 13)}{note}}}'.encode()
    return {"method": "POST", "target": "/cart", "headers": JSON, "body": body}


def pay(rng: random.Random) -> dict[str, Any]:
    body = f'{{"amount":{rng.randrange(100, 90_000) / 100},"card":"4111-1111-1111-{rng.randrange(1000, 9999)}"}}'.encode()
    return {"method": "POST", "target": "/pay", "headers": JSON, "body": body}


def ship(rng: random.Random) -> dict[str, Any]:
    return {
        "method": "POST",
        "target": "/ship",
        "headers": JSON,
        "body": f'{{"express":{rng.choice(["true", "false"])}}}'.encode(),
    }


def visit(rng: random.Random) -> list[dict[str, Any]]:
    steps = [login(rng)]
    for _ in range(rng.randrange(1, 3)):
        steps += [browse(rng) for _ in range(rng.randrange(4))] + [add(rng) for _ in range(rng.randrange(1, 3))]
        if rng.random() < 0.7:
            steps += [pay(rng), ship(rng)]
    return steps


def traffic(seed: int, visits: int, start: float = NOON, **changes: Any) -> list[CallRecord]:
    """Visits that overlap, in time order."""
    rng = random.Random(seed)
    made: list[CallRecord] = []
    for number in range(visits):
        ts = start + number * 20.0
        for step in visit(rng):
            ts += rng.uniform(0.5, 30.0)
            who = f"s{seed}-{number}"
            made.append(record(**step, ts=ts, session=who, address=who, record_id=f"{who}-{len(made)}", **changes))
    return sorted(made, key=lambda made: made.ts)


def models(records: Iterable[CallRecord]) -> list[WorkloadModel]:
    kept = list(records)
    return train_calls(lambda: kept)


@cache
def shop() -> ReadyModel:
    """The shop's model; `watched` a day before the first call would be too much to ask of a small test, so the gap is short."""
    (model,) = models(traffic(1, 700))
    return ReadyModel(model, "r-1")


def known_caller(*endpoints: str) -> CallerHistory:
    caller = CallerHistory(0.0, IDLE_SECONDS)
    for endpoint in endpoints:
        add_step(caller, endpoint)
    return caller


def denied(made: CallRecord, caller: CallerHistory | None = None, ready: ReadyModel | None = None) -> FindingCode | None:
    judgement = judge(to_parsed_call(made), ready or shop(), caller)
    return judgement.surprises[0].code if judgement.p_value <= BUDGET else None


def test_the_endpoints_are_found() -> None:
    assert sorted(shop().model.endpoints) == ["GET /items/{*}", "POST /cart", "POST /login", "POST /pay", "POST /ship"]


def test_what_the_model_says_of_itself() -> None:
    records = traffic(1, 700)
    model = shop().model
    assert (model.workload, model.n, model.first_ts, model.last_ts) == (WORKLOAD, len(records), records[0].ts, records[-1].ts)
    assert set(model.edges.principals) == {PRINCIPAL}


def test_later_normal_visits_are_denied_within_the_budget() -> None:
    later = traffic(2, 400, NOON + 50_000)
    history = History(NOON + 50_000 - 10 * IDLE_SECONDS)
    refused = 0
    for made in later:
        call_ = to_parsed_call(made)
        caller = history.caller(WORKLOAD, made.session, made.ts)
        judgement = judge(call_, shop(), caller)
        refused += judgement.p_value <= BUDGET
        add_step(caller, judgement.endpoint)
    assert refused <= len(later) * BUDGET * 2.5


def posted(target: str, body: str, **changes: Any) -> CallRecord:
    return record("POST", target, headers=JSON, body=body.encode(), **changes)


ATTACKS = [
    ("negative-count", posted("/cart", '{"item":1007,"count":-5}'), FindingCode.RANGE),
    ("huge-count", posted("/cart", '{"item":1007,"count":1000000}'), FindingCode.RANGE),
    ("count-is-text", posted("/cart", '{"item":1007,"count":"five"}'), FindingCode.TYPE),
    ("sql-injection", record("GET", "/items/1007?color=red'%20OR%201=1--"), None),
    ("sql-injection-in-path", record("GET", "/items/1007'%20OR%201=1--"), None),
    ("xss", posted("/cart", '{"item":1007,"count":1,"note":"<script>alert(1)</script>"}'), None),
    ("unknown-parameter", posted("/cart?debug=true", '{"item":1007,"count":1}'), FindingCode.UNKNOWN_PARAMETER),
    ("unknown-field", posted("/cart", '{"item":1007,"count":1,"price":0}'), FindingCode.UNKNOWN_PARAMETER),
    ("unknown-endpoint", record("GET", "/admin/backup.zip"), FindingCode.UNKNOWN_ENDPOINT),
    ("double-slash", record("GET", "//items/1007"), FindingCode.UNKNOWN_ENDPOINT),
    ("unusual-method", record("PROPFIND", "/cart"), FindingCode.UNKNOWN_METHOD),
    ("missing-field", posted("/cart", '{"item":1007}'), FindingCode.MISSING_PARAMETER),
    ("login-without-password", record("POST", "/login", headers=FORM, body=b"user=ann"), FindingCode.MISSING_PARAMETER),
    ("path-parameter", posted("/cart;jsessionid=1", '{"item":1007,"count":1}'), None),
    (
        "unknown-principal",
        posted("/cart", '{"item":1007,"count":1}', source="spiffe://td/ns/x/sa/y"),
        FindingCode.UNKNOWN_PRINCIPAL,
    ),
]


@pytest.mark.parametrize(("made", "code"), [attack[1:] for attack in ATTACKS], ids=[attack[0] for attack in ATTACKS])
def test_an_attack_is_denied(made: CallRecord, code: FindingCode | None) -> None:
    found = denied(made)
    assert found is not None
    assert code is None or code is found


WORKFLOWS = [
    ("paid", ["POST /login", "POST /cart", "POST /pay"], None),
    ("skip-payment", ["POST /login", "POST /cart"], FindingCode.PRECEDENCE),
    (
        "second-purchase-unpaid",
        ["POST /login", "POST /cart", "POST /pay", "POST /ship", "POST /cart"],
        FindingCode.PRECEDENCE,
    ),
]


@pytest.mark.parametrize(("before", "code"), [case[1:] for case in WORKFLOWS], ids=[case[0] for case in WORKFLOWS])
def test_the_workflow_is_kept(before: list[str], code: FindingCode | None) -> None:
    assert denied(record(**ship(random.Random(5))), known_caller(*before)) is code


def test_the_model_survives_the_bundle() -> None:
    assert decode_model(encode_model(shop().model)) == shop().model


def test_training_again_gives_the_same_model_whatever_the_store_gives_it_as() -> None:
    def generated() -> Iterator[CallRecord]:
        yield from traffic(3, 60)

    assert encode_model(train_calls(generated)[0]) == encode_model(models(traffic(3, 60))[0])


@pytest.mark.parametrize("size", [1, 7, 100])
def test_it_does_not_matter_how_calls_are_cut_into_batches(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = [*traffic(3, 60), *traffic(4, 30, workload="shop/other")]
    calls.sort(key=lambda made: made.ts)
    whole = [(encode_model(one.model), encode_description(one.description)) for one in learn_calls(lambda: calls)]
    monkeypatch.setattr(spool, "_BATCH", size)
    monkeypatch.setattr(spool, "_HELD", size + 1)
    cut = [(encode_model(one.model), encode_description(one.description)) for one in learn_calls(lambda: calls)]
    assert whole == cut


def test_no_clear_value_is_in_the_model() -> None:
    records = traffic(4, 60)
    secret = [
        record(
            **{
                **login(random.Random(n)),
                "body": b"user=mallory&password=correct-horse",
                "headers": {**FORM, "x-note": "battery staple"},
            },
            ts=NOON + n,
            session=f"m{n}",
        )
        for n in range(20)
    ]
    (model,) = models(sorted([*records, *secret], key=lambda made: made.ts))
    written = encode_model(model).decode()
    assert not [word for word in ("mallory", "correct", "horse", "battery", "staple") if word in written]


TEACHING: list[tuple[str, dict[str, Any], bool]] = [
    ("succeeded", {"status": 200}, True),
    ("redirected", {"status": 302}, True),
    ("outcome unknown", {"status": None}, True),
    ("no answer", {"status": 0}, False),
    ("failed", {"status": 500}, False),
    ("known attack", {"label": 1}, False),
    ("known to be none", {"label": 0}, True),
    ("test split", {"split": "test"}, False),
    ("train split", {"split": "train"}, True),
    ("flagged when it was made", {"verdict": "deny", "mode": "dry_run"}, False),
    ("allowed when it was made", {"verdict": "allow", "mode": "dry_run"}, True),
]


def spread(normal: list[CallRecord], make: Callable[[int], CallRecord], count: int) -> list[CallRecord]:
    """Mix `count` further calls in, over the whole time."""
    step = (normal[-1].ts - normal[0].ts) / count
    added = [msgspec.structs.replace(make(n), ts=normal[0].ts + (n + 0.5) * step) for n in range(count)]
    return sorted([*normal, *added], key=lambda made: made.ts)


@pytest.mark.parametrize(("changes", "taught"), [case[1:] for case in TEACHING], ids=[case[0] for case in TEACHING])
def test_what_may_teach(changes: dict[str, Any], taught: bool) -> None:
    calls = spread(traffic(5, 40), lambda n: record("GET", "/new", session=f"n{n}", **changes), 20)
    (model,) = models(calls)
    assert taught == ("GET /new" in model.endpoints)


def test_calls_that_the_service_refused_teach_only_where_that_is_usual() -> None:
    """A scan comes and goes; a client that asks again and again for what isn't there is normal traffic."""
    calls = traffic(5, 40)
    scan = [record("GET", "/scanned", status=404, session=f"n{n}", ts=calls[200].ts + n * 1e-3) for n in range(20)]
    usual = spread(calls, lambda n: record("GET", "/refused", status=404, session=f"n{n}"), 64)
    (model,) = models(sorted([*usual, *scan], key=lambda made: made.ts))
    assert "GET /scanned" not in model.endpoints
    assert "GET /refused" in model.endpoints


def test_one_burst_teaches_nothing_however_many_callers_it_has() -> None:
    calls = traffic(5, 60)
    burst = [record("GET", "/new", session=f"n{n}", ts=calls[200].ts + n * 1e-3) for n in range(8)]
    (model,) = models(sorted([*calls, *burst], key=lambda made: made.ts))
    assert "GET /new" not in model.endpoints


def test_one_caller_teaches_nothing_however_often_it_calls() -> None:
    """Three percent of the calls: one that makes five percent is a population, see `HEAVY_SHARE`."""
    calls = traffic(6, 300)
    attack = posted("/cart?debug=true", '{"item":1007,"count":-5}')
    poisoned = spread(calls, lambda n: msgspec.structs.replace(attack, session="mallory", address="mallory"), len(calls) // 33)
    (model,) = models(poisoned)
    ready = ReadyModel(model, "")
    assert denied(attack, ready=ready) is not None
    assert "query:debug" not in model.endpoints["POST /cart"].parameters


def test_a_principal_that_came_late_is_known() -> None:
    calls = traffic(7, 60)
    other = "spiffe://cluster.local/ns/shop/sa/late"
    late = [record("GET", ITEMS[n % 9], source=other, ts=calls[-1].ts + n, session=f"l{n}") for n in range(len(calls) // 16)]
    (model,) = models([*calls, *late])
    assert set(model.edges.principals) == {PRINCIPAL, "cluster.local/ns/shop/sa/late"}
    assert model.last_ts == late[-1].ts


def test_a_principal_at_an_endpoint_that_it_never_calls_is_refused() -> None:
    other = "spiffe://cluster.local/ns/shop/sa/reports"
    calls = traffic(7, 400)
    reports = spread(calls, lambda n: record("GET", ITEMS[n % 9], source=other, session="", address=""), 400)
    (model,) = models(reports)
    ready = ReadyModel(model, "")
    assert denied(record("GET", ITEMS[0], source=other, session="", address=""), ready=ready) is None
    usual = next(made for made in calls if made.path == "/pay")
    lateral = msgspec.structs.replace(usual, principal=other.removeprefix("spiffe://"), session="", address="")
    assert denied(lateral, ready=ready) is FindingCode.UNKNOWN_EDGE


def test_connections_without_http_are_learned_by_port_and_principal() -> None:
    def connection(n: int, source: str = PRINCIPAL, port: int = 6379) -> CallRecord:
        return record(source=f"spiffe://{source}", http=False, port=port, ts=NOON + n, record_id=f"c{n}", status=None)

    (model,) = models([connection(n) for n in range(2000)])
    ready = ReadyModel(model, "")
    assert (["TCP /6379"], True) == (list(model.endpoints), ready.connections)
    assert denied(connection(1), ready=ready) is None
    assert denied(connection(1, port=22), ready=ready) is FindingCode.UNKNOWN_ENDPOINT
    assert denied(connection(1, "cluster.local/ns/x/sa/y"), ready=ready) is FindingCode.UNKNOWN_PRINCIPAL


def test_workloads_are_learned_apart_and_small_ones_are_watched_on() -> None:
    one, other = traffic(8, 30), traffic(9, 30, workload="shop/other")
    small = [record("GET", "/x", workload="shop/small", ts=NOON + n, session=str(n)) for n in range(20)]
    made = models(sorted([*one, *other, *small], key=lambda record: record.ts))
    assert [model.workload for model in made] == ["shop/cart", "shop/other"]
    assert [model.n for model in made] == [len(one), len(other)]


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([], "none at all"),
        ([record("GET", "/x", ts=NOON + n) for n in range(49)], "shop/cart: 49"),
        ([record("GET", "/x", ts=NOON + n, status=500) for n in range(100)], "shop/cart: 0"),
        ([record("GET", "/x", ts=NOON + n, workload="") for n in range(3)], "unnamed: 3"),
    ],
)
def test_too_little_to_learn_from_is_said(records: list[CallRecord], said: str) -> None:
    with pytest.raises(TrainingError, match=said):
        models(records)


def test_numbers_at_the_ends_of_the_floats_are_learned() -> None:
    calls = spread(
        traffic(10, 30), lambda n: record("GET", f"/n?x={['5.0e-324', '9.9e999', '-9.9e999', '0.0'][n % 4]}", session=str(n)), 40
    )
    (model,) = models(calls)
    assert "GET /n" in model.endpoints
    assert decode_model(encode_model(model)) == model


def test_progress_is_told_by_phase() -> None:
    told: list[tuple[str, int, int]] = []
    calls = traffic(11, 30)
    train_calls(lambda: calls, lambda phase, done, total: told.append((phase, done, total)))
    assert ["read", "survey", "learn", "calibrate"] == list(dict.fromkeys(phase for phase, _, _ in told))
    assert {total for phase, _, total in told if phase != "read"} == {len(calls)}
    assert all(0 <= done <= len(calls) for _, done, _ in told)


def test_call_records_make_the_same_calls_as_judged_live() -> None:
    step = add(random.Random(1))
    assert to_parsed_call(record(**step)) == call(step["method"], step["target"], headers=step["headers"], body=step["body"])


def test_what_one_service_account_alone_brings_is_no_spray() -> None:
    """All calls come from one service: its users' names are data, and a new one is normal."""
    calls = [
        posted("/audit", f'{{"user":"user{number % 700:03}"}}', record_id=f"a-{number}", ts=NOON + number, session="the shop")
        for number in range(3_000)
    ]
    (model,) = models(calls)

    assert model.endpoints["POST /audit"].parameters["body:/user"].values is None
    later = posted("/audit", '{"user":"user999"}', session="the shop")
    assert judge(to_parsed_call(later), ReadyModel(model, "")).p_value > 0.001


OLD_KEY, NEW_KEY = "a" * 16, "b" * 16


def store_of_two_keys(place: Path) -> str:
    """100 calls under the old key, to an endpoint that is gone, and 150 under the new one."""
    for key_id, target, calls, since in ((OLD_KEY, "/gone", 100, NOON), (NEW_KEY, "/there", 150, NOON + 1_000)):
        with StoreWriter(str(place / "store"), key_id) as writer:
            for number in range(calls):
                writer.put(record(target=target, record_id=f"{target}-{number}", ts=since + number))
    return str(place / "store")


@pytest.mark.parametrize("jobs", [1, 2])
def test_only_calls_under_our_hash_key_are_learned(jobs: int, tmp_path: Path) -> None:
    store = store_of_two_keys(tmp_path)

    manifest = train(store, str(tmp_path / "out"), NEW_KEY, jobs)

    assert (NEW_KEY, 150) == (manifest.key_id, manifest.calls)
    assert ["GET /there"] == list(load_bundle(tmp_path / "out", NEW_KEY).models[WORKLOAD].model.endpoints)


def test_processes_that_share_the_workloads_publish_the_same_bytes(tmp_path: Path) -> None:
    calls = [*traffic(3, 120), *traffic(4, 60, workload="shop/other"), *traffic(5, 40, workload="shop/third")]
    with StoreWriter(str(tmp_path / "store"), NEW_KEY) as writer:
        for made in sorted(calls, key=lambda made: made.ts):
            writer.put(made)

    alone, shared = [train(str(tmp_path / "store"), str(tmp_path / f"out-{jobs}"), NEW_KEY, jobs) for jobs in (1, 2)]

    assert {name: entry.sha256 for name, entry in alone.workloads.items()} == {
        name: entry.sha256 for name, entry in shared.workloads.items()
    }
    assert alone.revision == shared.revision
    sequence = load_bundle(tmp_path / "out-2", NEW_KEY).models[WORKLOAD].model.sequence
    assert sequence.rules
    assert sequence.transitions


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_store_recorded_under_other_keys_publishes_nothing(jobs: int, tmp_path: Path) -> None:
    store = store_of_two_keys(tmp_path)

    with pytest.raises(StoreError, match=f"under key id {NEW_KEY} and .* under key id {OLD_KEY}"):
        train(store, str(tmp_path / "out"), "c" * 16, jobs)

    assert not (tmp_path / "out").exists()


def test_a_bundle_under_another_key_is_not_published_over(tmp_path: Path) -> None:
    store = store_of_two_keys(tmp_path)
    published = train(store, str(tmp_path / "out"), NEW_KEY)

    with pytest.raises(BundleError, match=f"one that holds a bundle under key id {NEW_KEY}"):
        train(store, str(tmp_path / "out"), OLD_KEY)

    assert published.revision == load_bundle(tmp_path / "out", NEW_KEY).revision


@pytest.mark.parametrize("jobs", [0, -2])
def test_a_number_of_processes_that_is_none_is_refused(jobs: int, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="jobs: expected a number of processes, or -1"):
        train(str(tmp_path), str(tmp_path / "out"), "key", jobs)
