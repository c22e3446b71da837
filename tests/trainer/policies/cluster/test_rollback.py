"""Rolling back: to the state before the last push, from wherever it was pushed, and farther each time."""

import base64
import zlib
from typing import Any

import msgspec
import pytest

from authz_server.engine.errors import PolicyError, SettingError
from tests.trainer.policies.cluster.api_server import ApiServer
from tests.trainer.policies.cluster.pushed import Pusher, policy
from trainer.policies.cluster import revisions
from trainer.policies.cluster.push import Outcome
from trainer.policies.cluster.revisions import CONFIG_MAP, MAX_REVISIONS, Kept, Revision, add, show


def paths(api: ApiServer) -> dict[str, Any]:
    return {name: one["spec"]["rules"][0]["to"][0]["operation"]["paths"][0] for name, one in api.policies().items()}


def test_each_rollback_goes_one_push_farther_back(api: ApiServer, pusher: Pusher) -> None:
    for path in ("/1", "/2", "/3"):
        pusher.push(policy(paths=[path]))
    seen = []
    for _ in range(3):
        assert set(pusher.roll_back().values()) <= {Outcome.CHANGED, Outcome.DELETED}
        seen.append(paths(api))
    assert [{"shop/cart": "/2"}, {"shop/cart": "/1"}, {}] == seen
    with pytest.raises(SettingError, match="rollback: expected"):
        pusher.roll_back()


def test_a_rollback_brings_back_what_was_pruned_and_deletes_what_was_added(api: ApiServer, pusher: Pusher) -> None:
    pusher.push(policy("old", "old", paths=["/old"]))
    pusher.push(policy("new", "new", paths=["/new"]), prune=True)
    assert {"shop/new": "/new"} == paths(api)
    assert {"shop/old": Outcome.CREATED, "shop/new": Outcome.DELETED} == pusher.roll_back()
    assert {"shop/old": "/old"} == paths(api)


def test_what_was_added_goes_even_without_our_label(api: ApiServer, pusher: Pusher) -> None:
    pusher.push(policy("new", "new", labels={}))
    pusher.roll_back()
    assert {} == api.policies()


def test_a_promoted_policy_is_back_in_dry_run(api: ApiServer, pusher: Pusher) -> None:
    pusher.push(policy())
    pusher.push(policy(dry_run=False))
    pusher.roll_back()
    assert {"istio.io/dry-run": "true"} == api.policies()["shop/cart"]["metadata"]["annotations"]


def test_only_namespaces_of_the_last_push_go_back(api: ApiServer, pusher: Pusher) -> None:
    pusher.push(policy(paths=["/1"]), policy(namespace="bank", paths=["/1"]))
    pusher.push(policy(paths=["/2"]), policy(namespace="bank", paths=["/1"]))
    assert {"shop/cart": Outcome.CHANGED} == pusher.roll_back()
    assert {"bank/cart": "/1", "shop/cart": "/1"} == paths(api)


def test_a_named_revision_is_returned_to(api: ApiServer, pusher: Pusher) -> None:
    for path in ("/1", "/2", "/3"):
        pusher.push(policy(paths=[path]))
    assert {"shop/cart": Outcome.CHANGED} == pusher.roll_back("shop", number=2)
    assert {"shop/cart": "/1"} == paths(api)
    with pytest.raises(SettingError, match="expected a state to return to in shop, got 9: kept are 1, 2, 3, 4"):
        pusher.roll_back("shop", number=9)


def test_a_push_after_a_rollback_can_be_rolled_back_to_where_it_was(api: ApiServer, pusher: Pusher) -> None:
    for path in ("/1", "/2"):
        pusher.push(policy(paths=[path]))
    pusher.roll_back()
    pusher.push(policy(paths=["/3"]))
    pusher.roll_back()
    assert {"shop/cart": "/1"} == paths(api)


def test_a_state_that_came_without_a_push_is_returned_to_as_well(api: ApiServer, pusher: Pusher) -> None:
    pusher.push(policy(paths=["/1"]))
    api.put(policy(paths=["/by-hand"]), "meshwarden")
    pusher.push(policy(paths=["/2"]))
    pusher.roll_back()
    assert {"shop/cart": "/by-hand"} == paths(api)


def test_what_others_took_over_is_not_rolled_back_over_them(api: ApiServer, pusher: Pusher) -> None:
    pusher.push(policy(paths=["/1"]))
    pusher.push(policy(paths=["/2"]))
    api.put(policy(paths=["/theirs"]), "kubectl")
    assert {"shop/cart": Outcome.REFUSED} == pusher.roll_back()
    assert {"shop/cart": "/theirs"} == paths(api)


def test_a_push_that_was_cut_short_is_undone_by_a_rollback(api: ApiServer, pusher: Pusher) -> None:
    pusher.push(policy("a", paths=["/1"]), policy("b", paths=["/1"]))
    api.when("patch authorizationpolicies shop/b", "die")
    assert Outcome.HALF_DONE == pusher.push(policy("a", paths=["/2"]), policy("b", paths=["/2"]))["shop/a"]
    api.start()
    assert {"shop/a": "/2", "shop/b": "/1"} == paths(api)
    assert {"shop/a": Outcome.CHANGED, "shop/b": Outcome.EQUAL} == pusher.roll_back()
    assert {"shop/a": "/1", "shop/b": "/1"} == paths(api)


def test_an_interrupted_rollback_goes_on_to_the_same_state(api: ApiServer, pusher: Pusher) -> None:
    for path in ("/1", "/2"):
        pusher.push(policy("a", "a", paths=[path]), policy("b", "b", paths=[path]))
    api.when("patch authorizationpolicies shop/b", "die")
    assert {"shop/a": Outcome.CHANGED, "shop/b": Outcome.REFUSED} == pusher.roll_back()
    api.start()
    assert {"shop/a": Outcome.EQUAL, "shop/b": Outcome.CHANGED} == pusher.roll_back()
    assert {"shop/a": "/1", "shop/b": "/1"} == paths(api)


def test_the_log_names_a_rollback(api: ApiServer, pusher: Pusher) -> None:
    pusher.push(policy())
    pusher.roll_back()
    assert [("push", "created"), ("rollback", "deleted")] == [(one["action"], one["outcome"]) for one in pusher.entries()]


def test_no_more_revisions_are_kept_than_allowed(api: ApiServer, pusher: Pusher) -> None:
    kept = Kept("shop")
    for number in range(30):
        kept = add(kept, Revision(0, "p", 0.0, "ann", "push", (policy(paths=[f"/{number}"]),)))
    assert list(range(31 - MAX_REVISIONS, 31)) == [one.number for one in kept.revisions]


def test_the_oldest_revisions_go_when_all_are_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revisions, "MAX_BYTES", 1200)
    kept = Kept("shop")
    for number in range(5):
        kept = add(kept, Revision(0, "p", 0.0, "ann", "push", (policy(paths=[f"/{number}"]),)))
    assert 2 <= len(kept.revisions) < 5
    assert 5 == kept.revisions[-1].number


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("???", id="not base64"),
        pytest.param(base64.b64encode(b"no").decode(), id="not compressed"),
        pytest.param(base64.b64encode(zlib.compress(b"{}")).decode(), id="not a revision"),
        pytest.param(base64.b64encode(zlib.compress(b" " * 40_000_000)).decode(), id="a bomb"),
    ],
)
def test_revisions_that_somebody_damaged_are_named_not_believed(api: ApiServer, pusher: Pusher, value: str) -> None:
    pusher.push(policy())
    api.objects[("configmaps", "shop", CONFIG_MAP)]["binaryData"]["r00000001"] = value
    with pytest.raises(PolicyError, match="ConfigMap shop/meshwarden-revisions: expected revisions"):
        pusher.push(policy(paths=["/b"]))
    assert {"shop/cart": "/a"} == paths(api)


def test_the_list_names_what_is_kept() -> None:
    revision = Revision(3, "p", 0.0, "ann", "push", ({},), complete=False, undone=True)
    assert ["shop 3: 1970-01-01 00:00:00 UTC, push by ann: 1 policies, cut short, undone"] == list(
        show([Kept("shop", (revision,))])
    )
    assert revision == msgspec.json.decode(msgspec.json.encode(revision), type=Revision)
