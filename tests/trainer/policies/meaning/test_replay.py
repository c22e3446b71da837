"""What policies would have refused in recorded calls: who, by which rule, and what can't be told."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from authz_server.engine.errors import StoreError
from tests.factories_engine import record
from trainer.policies.commands import app
from trainer.policies.document import to_text
from trainer.policies.meaning.replay import Stage, replay, replay_place
from trainer.policies.policy import (
    DRY_RUN,
    AuthorizationPolicy,
    From,
    Metadata,
    Operation,
    Rule,
    Selector,
    Source,
    Spec,
    To,
    to_object,
)

WEB = "td/ns/shop/sa/web"


def policy(name: str, action: str, *operations: Operation, dry_run: bool = False, **spec: Any) -> AuthorizationPolicy:
    annotations = {DRY_RUN: "true"} if dry_run else {}
    rules = tuple(Rule((From(Source(principals=(WEB,))),) if action == "ALLOW" else (), (To(one),)) for one in operations)
    return AuthorizationPolicy(Metadata(name, "shop", annotations=annotations), Spec(action=action, rules=rules, **spec))


def call(target: str = "/items/7", method: str = "GET", **changes: Any) -> Any:
    changes["source"] = f"spiffe://{WEB}" if "principal" not in changes else changes.pop("principal")
    usual: dict[str, Any] = {"workload": "shop/shop", "verdict": "allow", "mode": "dry_run", "status": 200}
    return record(method, target, **usual | changes)


ITEMS = Operation(methods=("GET",), paths=("/items/{*}",))
ADMIN = Operation(paths=("/admin*",))


def test_a_call_that_ended_well_is_told_apart_from_those_that_did_not() -> None:
    calls = [
        call(),
        call("/cart"),
        call("/cart", status=404),
        call("/cart", status=None),
        call("/cart", label=1),
        call("/cart", verdict="deny", mode="enforce", status=403),
    ]
    found = replay([policy("a", "ALLOW", ITEMS)], calls)
    assert (6, 1, 1, False) == (found.calls, found.allowed, found.broken, found.clean)
    (row,) = found.refusals
    assert (1, 1, 1, 2) == (row.broken, row.failed, row.unfinished, row.attacks)
    assert (Stage.ENFORCED, "", WEB, ["GET /cart"]) == (row.stage, row.rule, row.caller, row.examples)


def test_a_dry_run_refuses_once_it_is_promoted() -> None:
    policies = [policy("a", "ALLOW", ITEMS, ADMIN), policy("d", "DENY", ADMIN, dry_run=True)]
    (row,) = replay(policies, [call("/admin")]).refusals
    assert (Stage.PROMOTED, "ns[shop]-policy[d]-rule[0]", 1) == (row.stage, row.rule, row.broken)


@pytest.mark.parametrize(
    ("policies", "what", "missing"),
    [
        ([policy("a", "ALLOW", Operation(hosts=("shop",)))], call(), ("host",)),
        ([policy("a", "ALLOW", Operation(ports=("80",)))], call(), ("port",)),
        ([policy("a", "ALLOW", ITEMS)], call("/items/a%2Fb"), ("path",)),
        ([policy("a", "ALLOW", Operation(paths=("/items/a",)))], call("/items/a%2Fb"), ("path",)),
        ([policy("a", "ALLOW", ITEMS)], call("/items/../admin"), ("path",)),
        ([policy("a", "ALLOW", Operation(paths=("/items/a1b2c3d4e5",)))], call("/items/b1b2c3d4e5"), ("path",)),
        ([policy("a", "ALLOW", ITEMS)], call(principal="", verdict=""), ("principal",)),
        ([policy("a", "ALLOW", ITEMS)], call(principal="web", verdict=""), ("principal",)),
        (
            [policy("a", "ALLOW", ITEMS, selector=Selector({"version": "v2"}))],
            call("/cart"),
            ("labels that shop/a selects",),
        ),
    ],
)
def test_what_the_record_does_not_hold_is_not_guessed(
    policies: list[AuthorizationPolicy], what: Any, missing: tuple[str, ...]
) -> None:
    found = replay(policies, [what])
    assert ([], [missing]) == (found.refusals, [row.missing for row in found.undecided])
    assert not found.clean


@pytest.mark.parametrize(
    ("policies", "what"),
    [
        ([policy("a", "ALLOW", Operation(methods=("GET",)))], call("/items/a%2Fb")),
        ([policy("a", "ALLOW", Operation(ports=("80",)))], call(port=80)),
        ([policy("a", "ALLOW", ITEMS)], call("/items/7;v=1")),
        ([policy("a", "ALLOW", Operation(paths=("/items//7",)))], call("/items//7")),
        ([policy("a", "ALLOW", ITEMS, selector=Selector({"app": "shop"}))], call()),
    ],
)
def test_what_does_not_matter_may_be_unknown(policies: list[AuthorizationPolicy], what: Any) -> None:
    found = replay(policies, [what])
    assert (1, True) == (found.allowed, found.clean)


def test_policies_are_for_the_workloads_that_they_select() -> None:
    policies = [policy("a", "ALLOW", ITEMS, selector=Selector({"app": "other", "version": "v2"}))]
    assert 1 == replay(policies, [call("/cart")]).unguarded
    assert 1 == replay(policies, [call("/cart")], {"shop/shop": {"app": "other", "version": "v2"}}).broken


def test_a_caller_known_to_be_without_mtls_is_refused() -> None:
    assert 1 == replay([policy("a", "ALLOW", ITEMS)], [call(principal="", verdict="allow")]).broken


@pytest.mark.parametrize(("path", "code"), [("/items/7", 0), ("/cart", 1)])
def test_the_command_reads_calls_and_ends_with_1_where_one_would_break(tmp_path: Path, path: str, code: int) -> None:
    (tmp_path / "p.yaml").write_text(to_text([to_object(policy("a", "ALLOW", ITEMS))]))
    row = {"method": "GET", "path": path, "src": f"spiffe://{WEB}", "dst": "shop/shop", "status": 200}
    (tmp_path / "calls.jsonl.gz").write_bytes(gzip.compress(json.dumps(row).encode()))
    arguments = ["replay", "--policies", str(tmp_path / "p.yaml"), "--calls", str(tmp_path / "calls.jsonl.gz")]
    found = CliRunner().invoke(app, [*arguments, "--json"])
    assert (code, code) == (found.exit_code, json.loads(found.stdout)["broken"])
    text = CliRunner().invoke(app, arguments).stdout
    assert ("no ALLOW rule matches" in text) == bool(code)


@pytest.mark.parametrize("where", ["calls", "store"])
def test_a_replay_of_nothing_is_an_error_and_no_clean_bill(tmp_path: Path, where: str) -> None:
    allow = AuthorizationPolicy(metadata=Metadata("allow-cart", "shop"), spec=Spec(action="ALLOW"))
    (tmp_path / "cart.yaml").write_text(to_text([to_object(allow)]))
    (tmp_path / "store").mkdir()
    (tmp_path / "calls").write_text("")

    calls, store = [str(tmp_path / one) if one == where else None for one in ("calls", "store")]

    with pytest.raises(StoreError, match="expected recorded calls, found none"):
        replay_place(tmp_path / "cart.yaml", calls, store)
