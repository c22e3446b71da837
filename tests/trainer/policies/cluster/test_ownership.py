"""Who owns what, as managed fields say it; and that the stand-in for the API server keeps them as Kubernetes does."""

from typing import Any

import pytest

from tests.trainer.policies.cluster.api_server import ApiServer
from tests.trainer.policies.cluster.applied import Conflict, apply, to_fields
from tests.trainer.policies.cluster.pushed import Pusher, policy
from trainer.policies.cluster.ownership import changed_at, is_ours, managers, owned, owned_paths, owners

RULES = ("spec", "rules")


def served(*entries: dict[str, Any]) -> dict[str, Any]:
    thing = policy()
    thing["metadata"]["managedFields"] = list(entries)
    return thing


def entry(manager: str, *paths: tuple[str, ...], operation: str = "Apply", **more: Any) -> dict[str, Any]:
    return {"manager": manager, "operation": operation, "time": "2026-01-01T00:00:00Z", "fieldsV1": to_fields(set(paths)), **more}


@pytest.mark.parametrize(
    ("entries", "ours", "others", "rules_of"),
    [
        pytest.param([], False, (), (), id="nobody"),
        pytest.param([entry("meshwarden", RULES)], True, (), (), id="we alone"),
        pytest.param([entry("meshwarden", RULES, operation="Update")], False, ("meshwarden",), ("meshwarden",), id="not applied"),
        pytest.param(
            [entry("meshwarden", RULES), entry("kubectl", ("spec",))], True, ("kubectl",), ("kubectl",), id="all of the spec"
        ),
        pytest.param([entry("kubectl", ("spec", "action"))], False, ("kubectl",), (), id="another field"),
        pytest.param([entry("pilot", ("status",), subresource="status")], False, (), (), id="a status"),
    ],
)
def test_owners_are_read(entries: list[dict[str, Any]], ours: bool, others: tuple[str, ...], rules_of: tuple[str, ...]) -> None:
    found = served(*entries)
    assert (ours, others, rules_of) == (is_ours(found), managers(found), owners(found, RULES))


@pytest.mark.parametrize(
    "entries", [None, "x", [1, None], [{"manager": "meshwarden", "operation": "Apply", "fieldsV1": {"f:spec": 3}}]]
)
def test_managed_fields_of_no_sense_do_no_harm(entries: object) -> None:
    found = policy()
    found["metadata"]["managedFields"] = entries if isinstance(entries, list) else None
    assert owned(found)["metadata"]["name"] == "cart"
    assert () == managers(found)


def test_what_we_own_applied_again_changes_nothing(api: ApiServer, pusher: Pusher) -> None:
    pusher.push(policy(annotations={"a.b/c": "x"}))
    found = api.policies()["shop/cart"]
    assert policy(annotations={"a.b/c": "x"}) == {**owned(found)}
    assert ("metadata", "annotations", "a.b/c") in owned_paths(found)
    assert found == apply(found, owned(found), "meshwarden", force=False, now="later")


def test_the_last_change_of_rules_is_their_owners() -> None:
    newer = entry("kubectl", ("metadata", "labels", "x")) | {"time": "2027-01-01T00:00:00Z"}
    assert "2026-01-01T00:00:00Z" == changed_at(served(entry("meshwarden", RULES), newer), RULES)
    assert None is changed_at(served(), RULES)


# --- the stand-in


def test_fields_that_are_applied_no_more_go_unless_others_own_them_too() -> None:
    one = apply(None, policy(annotations={"a": "1", "b": "2"}), "meshwarden", force=False, now="")
    both = apply(one, {**policy(labels={}, dry_run=False, annotations={"b": "2"}), "spec": {}}, "kubectl", force=False, now="")
    left = apply(both, policy(dry_run=False), "meshwarden", force=False, now="")
    assert {"b": "2"} == left["metadata"]["annotations"]


def test_a_value_that_another_owns_conflicts_unless_it_is_the_same_or_forced() -> None:
    theirs = apply(None, policy(), "kubectl", force=False, now="")
    assert {"kubectl", "meshwarden"} == {
        one["manager"] for one in apply(theirs, policy(), "meshwarden", force=False, now="")["metadata"]["managedFields"]
    }
    with pytest.raises(Conflict) as caught:
        apply(theirs, policy(paths=["/b"]), "meshwarden", force=False, now="")
    assert {".spec.rules": "kubectl"} == caught.value.owners
    forced = apply(theirs, policy(paths=["/b"]), "meshwarden", force=True, now="")
    assert () == owners(forced, RULES)
