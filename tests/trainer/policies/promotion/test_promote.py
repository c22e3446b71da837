"""Ending a dry run: only where the gate holds, each unmet condition named; the file keeps every other byte, and generate keeps
its word."""

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from authz_server.engine.errors import PolicyError, SettingError
from tests.factories import KEY_ID, outcome_record, record
from tests.trainer.policies.cluster.api_server import ApiServer
from tests.trainer.policies.cluster.pushed import Pusher, policy
from trainer.policies.document import parse_documents, to_text
from trainer.policies.policy import from_object
from trainer.policies.promotion.condition import Condition
from trainer.policies.promotion.gate import DryRun, Gate, Standing, unmet
from trainer.policies.promotion.promote import promote_text
from trainer.policies.promotion.promotion import Sources, promote
from trainer.store_writer import StoreWriter

NOW = 1_800_000_000.0
DAY = 86_400.0
EVIDENCE = {
    "meshwarden.io/evidence-calls": "1000 or more",
    "meshwarden.io/evidence-since": "2026-11-01",
    "meshwarden.io/evidence-until": "2026-11-08",
}
METRICS = """\
# TYPE envoy_http_inbound_0_0_0_0_80_rbac counter
envoy_http_inbound_0_0_0_0_80_rbac{authz_dry_run_action="allow",authz_dry_run_result="allowed"} 20
envoy_http_inbound_0_0_0_0_80_rbac{authz_dry_run_action="allow",authz_dry_run_result="denied"} 0
"""


class Calls(msgspec.Struct, frozen=True):
    calls: int = 500
    refused: int = 0
    undecided: int = 0
    first_ts: float = NOW - 7 * DAY
    last_ts: float = NOW - 60


def gate(**changes: Any) -> list[str]:
    given: dict[str, Any] = {
        "annotations": EVIDENCE,
        "standing": Standing(equal=True, since=NOW - 8 * DAY),
        "replayed": Calls(),
        "dry_run": DryRun(9, 0),
    }
    given |= changes
    one = from_object(policy(annotations=given["annotations"]))
    found = unmet(one, Gate(), given["standing"], given["replayed"], given["dry_run"], NOW)
    return [f"{missing.condition}: {missing.text}" for missing in found]


def test_the_gate_holds_when_everything_is_known_and_clean() -> None:
    assert [] == gate()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"annotations": {}}, "evidence: expected meshwarden.io/evidence-calls of 1000 or more, got none"),
        (
            {"annotations": EVIDENCE | {"meshwarden.io/evidence-calls": "100 or more"}},
            "evidence: expected to have learned from 1000 calls",
        ),
        (
            {"annotations": EVIDENCE | {"meshwarden.io/evidence-until": "2026-11-07"}},
            "evidence: expected calls of 7 days or more, got 6",
        ),
        (
            {"annotations": EVIDENCE | {"meshwarden.io/evidence-until": "soon"}},
            "evidence: expected meshwarden.io/evidence-since and -until",
        ),
        ({"standing": None}, "pushed: expected to see how it stands in the cluster"),
        ({"standing": Standing(equal=False)}, "pushed: expected the cluster to have the file's policy"),
        (
            {"standing": Standing(equal=True, since=NOW - 6 * DAY)},
            "pushed: expected these rules to have been in dry run for 7 days, got 6.0",
        ),
        (
            {"standing": Standing(equal=True)},
            "pushed: expected these rules to have been in dry run for 7 days, got an unknown number",
        ),
        ({"replayed": None}, "replay: expected a replay of recorded calls, got none"),
        ({"replayed": Calls(calls=0)}, "replay: expected recorded calls to this workload in the last 7 days, got none"),
        ({"replayed": Calls(refused=3)}, "replay: expected no recorded call to be refused, got 3 of 500"),
        ({"replayed": Calls(undecided=4)}, "replay: expected to know what becomes of every recorded call, got 4 undecided"),
        ({"replayed": Calls(first_ts=NOW - 2 * DAY)}, "replay: expected recorded calls of 7 days, got those of 2.0"),
        (
            {"replayed": Calls(first_ts=NOW - 12 * DAY, last_ts=NOW - 2 * DAY)},
            "replay: expected recorded calls up to now, got the last from 2.0 days ago",
        ),
        ({"dry_run": None}, "dry-run: expected what the mesh's dry run counted, got nothing"),
        ({"dry_run": DryRun(9, 2)}, "dry-run: expected Envoy's dry run to have denied nothing, got 2 calls"),
        ({"dry_run": DryRun(0, 0)}, "dry-run: expected Envoy's dry run to have allowed calls, got none"),
    ],
)
def test_each_condition_that_does_not_hold_is_named(change: dict[str, Any], expected: str) -> None:
    found = gate(**change)
    assert any(line.startswith(expected) for line in found), found
    assert {expected.partition(":")[0]} == {line.partition(":")[0] for line in found}


# --- files


def test_only_the_annotation_of_the_chosen_policy_leaves_its_file() -> None:
    first, second = policy("cart", annotations=EVIDENCE), policy("pay", "pay")
    text = to_text([first, second], "A header.")
    text = text.replace("spec:", "# why: see the review\nspec:", 1)
    new = promote_text(text, {("shop", "cart")}, "f.yaml")
    assert text.replace('    istio.io/dry-run: "true"\n', "", 1) == new
    assert [False, True] == [from_object(one.object).dry_run for one in parse_documents(new.encode(), "f.yaml")]


def test_an_only_annotation_leaves_no_empty_heading() -> None:
    text = to_text([policy()])
    new = promote_text(text, {("shop", "cart")}, "f.yaml")
    assert text.replace('  annotations:\n    istio.io/dry-run: "true"\n', "") == new


def test_what_is_generated_is_written_as_if_it_had_been_generated_promoted() -> None:
    promoted = promote_text(to_text([policy(annotations=EVIDENCE)]), {("shop", "cart")}, "f.yaml")
    assert to_text([policy(annotations=EVIDENCE, dry_run=False)]) == promoted


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            "{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: cart, namespace: shop,"
            ' annotations: {istio.io/dry-run: "true"}}, spec: {action: ALLOW}}\n',
            id="in one line",
        ),
        pytest.param(
            to_text([policy()]).replace('istio.io/dry-run: "true"', 'istio.io/dry-run:\n      "true"'), id="on two lines"
        ),
    ],
)
def test_a_file_that_cannot_be_changed_by_a_line_is_left_to_a_person(text: str) -> None:
    with pytest.raises(PolicyError, match="take it out by hand"):
        promote_text(text, {("shop", "cart")}, "f.yaml")


# --- the whole


@pytest.fixture
def files(tmp_path: Path) -> Path:
    place = tmp_path / "policies"
    place.mkdir()
    (place / "shop.cart.yaml").write_text(to_text([policy(annotations=EVIDENCE)]))
    (place / "shop.pay.yaml").write_text(to_text([policy("pay", "pay")]))
    (tmp_path / "metrics").write_text(METRICS)
    return place


def run(files: Path, pusher: Pusher | None, *names: str, waived: tuple[Condition, ...] = (), push: bool = False) -> bool:
    return promote(
        files,
        names,
        Gate(),
        Sources(metrics=files.parent / "metrics"),
        waived,
        (lambda: pusher.cluster) if pusher is not None else None,
        files.parent / "audit.jsonl",
        pusher.told.append if pusher is not None else (lambda _: None),
        push=push,
        replay=lambda _: Calls(first_ts=time.time() - 7 * DAY, last_ts=time.time()),
    )


def dry(files: Path) -> dict[str, bool]:
    return {one.name: "dry-run" in one.read_text() for one in sorted(files.iterdir())}


def seen_long_ago(api: ApiServer) -> None:
    for one in api.policies().values():
        for entry in one["metadata"]["managedFields"]:
            entry["time"] = "2020-01-01T00:00:00Z"


def test_what_meets_the_gate_is_promoted_in_file_and_cluster(api: ApiServer, pusher: Pusher, files: Path) -> None:
    pusher.push(policy(annotations=EVIDENCE), policy("pay", "pay"))
    seen_long_ago(api)
    assert run(files, pusher, "shop/cart", push=True)
    assert {"shop.cart.yaml": False, "shop.pay.yaml": True} == dry(files)
    assert [False, True] == [from_object(one).dry_run for one in api.policies().values()]
    assert "PolicyPromoteChanged" == api.events()[-1]["reason"]
    assert [("promote", "files", "changed"), ("promote", "test", "changed")] == [
        (one["action"], one["context"], one["outcome"]) for one in pusher.entries() if one["action"] == "promote"
    ]
    assert {"shop/cart": "equal"} == pusher.push(*[policy(annotations=EVIDENCE, dry_run=False)])


def test_what_does_not_stays_as_it_is_and_is_logged(api: ApiServer, pusher: Pusher, files: Path) -> None:
    pusher.push(policy("pay", "pay"))
    assert not run(files, pusher, "shop/pay", push=True)
    assert {"shop.cart.yaml": True, "shop.pay.yaml": True} == dry(files)
    (entry,) = [one for one in pusher.entries() if one["action"] == "promote"]
    assert "refused" == entry["outcome"]
    assert "evidence: expected" in entry["reason"]
    assert from_object(api.policies()["shop/pay"]).dry_run


def test_a_policy_that_the_cluster_has_otherwise_is_not_promoted(api: ApiServer, pusher: Pusher, files: Path) -> None:
    pusher.push(policy(annotations=EVIDENCE, paths=["/old"]))
    seen_long_ago(api)
    assert not run(files, pusher, "shop/cart")
    assert any("pushed: expected the cluster to have the file's policy" in line for line in pusher.told)


def test_a_waived_condition_is_told_and_logged(api: ApiServer, pusher: Pusher, files: Path) -> None:
    assert run(files, pusher, "shop/cart", waived=(Condition.PUSHED,))
    (entry,) = pusher.entries()
    assert entry["reason"].startswith("waived pushed: ")
    assert {"shop.cart.yaml": False, "shop.pay.yaml": True} == dry(files)


def test_a_name_that_fits_nothing_is_refused(pusher: Pusher, files: Path) -> None:
    with pytest.raises(PolicyError) as caught:
        run(files, pusher, "shop/card", "shop", "x" * 1000)
    first, second = caught.value.problems
    assert (
        "promote: expected a policy's namespace/name or a namespace, one of shop/cart, shop/pay, shop, got 'shop/card'" == first
    )
    assert second.endswith(f"got '{'x' * 99}…'")


def test_one_file_of_metrics_is_not_taken_for_two_workloads(pusher: Pusher, files: Path) -> None:
    with pytest.raises(SettingError, match="metrics: expected one policy to be named"):
        run(files, pusher)


def test_recorded_calls_are_replayed_from_their_store(files: Path, tmp_path: Path) -> None:
    with StoreWriter(str(tmp_path / "store"), KEY_ID) as store:
        for number in range(3):
            ts = time.time() - 60 + number
            store.put(record(id=f"d-{number}", ts=ts, request_id=f"r-{number}"))
            store.put(outcome_record(id=f"d-{number}", ts=ts, request_id=f"r-{number}"))
    told: list[str] = []
    sources = Sources(store=str(tmp_path / "store"))
    assert not promote(files, ("shop/cart",), Gate(), sources, (), None, tmp_path / "audit.jsonl", told.append)
    assert any("replay: expected no recorded call to be refused, got 3 of 3" in line for line in told), told
