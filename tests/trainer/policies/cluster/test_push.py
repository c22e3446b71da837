"""Pushing: only what differs, all or nothing a workload, never what others own, whatever the API server answers."""

from contextlib import suppress
from typing import Any

import pytest

from authz_server.engine.errors import ClusterError, PolicyError
from tests.trainer.policies.cluster.api_server import ApiServer
from tests.trainer.policies.cluster.pushed import Pusher, policy
from trainer.policies.cluster import revisions
from trainer.policies.cluster.push import Outcome

CREATED, CHANGED, DELETED, EQUAL = Outcome.CREATED, Outcome.CHANGED, Outcome.DELETED, Outcome.EQUAL
REFUSED, PUT_BACK, HALF_DONE, NOT_REACHED = Outcome.REFUSED, Outcome.PUT_BACK, Outcome.HALF_DONE, Outcome.NOT_REACHED
DRY = " (dry run)"


def spec(thing: dict[str, Any]) -> Any:
    return thing["spec"]


def patch(name: str) -> str:
    return f"patch authorizationpolicies shop/{name}"


def test_a_push_tries_everything_on_the_server_before_it_changes_anything(api: ApiServer, pusher: Pusher) -> None:
    assert {"shop/cart": CREATED, "shop/pay": CREATED} == pusher.push(policy("cart"), policy("pay", "pay"))
    assert [patch("cart") + DRY, patch("pay") + DRY, patch("cart"), patch("pay")] == api.lines(dry=True)
    managers = {entry["manager"] for one in api.policies().values() for entry in one["metadata"]["managedFields"]}
    assert {"meshwarden"} == managers
    assert [] == [one.line for one in api.asked if one["force"]]


def test_a_second_equal_push_sends_nothing_and_says_so(api: ApiServer, pusher: Pusher) -> None:
    pusher.push(policy())
    before = dict(api.objects)
    api.asked.clear()
    assert {"shop/cart": EQUAL} == pusher.push(policy())
    assert [] == api.lines()
    assert before == api.objects
    assert "shop/cart: equal" == pusher.said("shop/cart")


def test_only_what_differs_is_sent_and_what_a_file_drops_goes(api: ApiServer, pusher: Pusher) -> None:
    pusher.push(policy(annotations={"meshwarden.io/revision": "1"}), policy("pay", "pay"))
    api.asked.clear()
    assert {"shop/cart": CHANGED, "shop/pay": EQUAL} == pusher.push(policy(dry_run=False, paths=["/b"]), policy("pay", "pay"))
    assert [patch("cart")] == api.lines()
    cart = api.policies()["shop/cart"]
    assert {} == cart["metadata"].get("annotations", {})
    assert spec(policy(paths=["/b"])) == spec(cart)


def test_what_others_own_is_named_and_nothing_of_that_workload_is_touched(api: ApiServer, pusher: Pusher) -> None:
    pusher.push(policy("cart-a"), policy("cart-b"), policy("pay", "pay"))
    api.put(policy("cart-b", paths=["/theirs"]), "kubectl-edit")
    before = api.policies()
    new = [policy("cart-a", paths=["/new"]), policy("cart-b", paths=["/new"]), policy("pay", "pay", paths=["/new"])]
    assert {"shop/cart-b": REFUSED, "shop/cart-a": NOT_REACHED, "shop/pay": CHANGED} == pusher.push(*new)
    assert "kubectl-edit owns .spec.rules" in pusher.said("shop/cart-b")
    now = api.policies()
    assert [before["shop/cart-a"], before["shop/cart-b"]] == [now["shop/cart-a"], now["shop/cart-b"]]


def test_an_object_that_somebody_else_made_is_left_alone_even_without_a_conflict(api: ApiServer, pusher: Pusher) -> None:
    theirs = policy()
    del theirs["spec"]["rules"], theirs["metadata"]["annotations"], theirs["metadata"]["labels"]
    api.put(theirs)
    before = api.policies()
    assert {"shop/cart": REFUSED} == pusher.push(policy())
    assert "kubectl made it" in pusher.said("shop/cart")
    assert before == api.policies()


def test_an_equal_object_that_gitops_applied_needs_nothing(api: ApiServer, pusher: Pusher) -> None:
    api.put(policy(), "argocd-controller")
    before = api.policies()
    assert {"shop/cart": EQUAL} == pusher.push(policy())
    assert before == api.policies()


def test_fields_of_others_that_change_what_a_policy_means_are_refused(api: ApiServer, pusher: Pusher) -> None:
    pusher.push(policy(dry_run=False))
    theirs = {**policy(labels={}), "spec": {}}
    api.put(theirs, "kubectl-annotate")
    api.asked.clear()
    assert {"shop/cart": REFUSED} == pusher.push(policy(dry_run=False, paths=["/b"]))
    assert "kubectl-annotate owns metadata.annotations.istio.io/dry-run" in pusher.said("shop/cart")
    assert [] == api.lines()
    assert ["/a"] == spec(api.policies()["shop/cart"])["rules"][0]["to"][0]["operation"]["paths"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"namespace": "nowhere"}, "there is no namespace nowhere: create it", id="no namespace"),
        pytest.param({"action": "PERMIT"}, "finds it invalid", id="a value that isn't one"),
    ],
)
def test_what_the_server_refuses_in_dry_run_stops_its_workload_alone(
    api: ApiServer, pusher: Pusher, change: dict[str, Any], said: str
) -> None:
    wrong = policy("wrong", "wrong", **change)
    at = f"{wrong['metadata']['namespace']}/wrong"
    assert {at: REFUSED, "shop/cart": CREATED} == pusher.push(policy(), wrong)
    assert said in pusher.said(at)
    assert ["shop/cart"] == list(api.policies())


def test_a_field_that_the_crd_does_not_know_is_named(api: ApiServer, pusher: Pusher) -> None:
    thing = policy()
    thing["spec"]["shadow"] = "x"
    assert {"shop/cart": REFUSED} == pusher.push(thing)
    assert "the cluster's CRD doesn't know .spec.shadow" in pusher.said("shop/cart")


@pytest.mark.parametrize("verb", ["patch", "create"])
def test_a_missing_right_is_named_with_its_verb(api: ApiServer, pusher: Pusher, verb: str) -> None:
    api.denied.add((verb, "authorizationpolicies"))
    assert {"shop/cart": REFUSED} == pusher.push(policy())
    assert f"grant verb {verb} on authorizationpolicies.security.istio.io (a new object needs create and patch)" in pusher.said(
        "shop/cart"
    )
    assert {} == api.policies()


def test_a_missing_right_to_list_stops_everything_and_is_logged(api: ApiServer, pusher: Pusher) -> None:
    api.denied.add(("list", "authorizationpolicies"))
    with pytest.raises(ClusterError, match="grant verb list on authorizationpolicies"):
        pusher.push(policy())
    assert [("push", "failed", "")] == [(one["action"], one["outcome"], one["object"]) for one in pusher.entries()]


def test_without_the_right_to_look_everywhere_the_named_namespaces_do(api: ApiServer, pusher: Pusher) -> None:
    api.denied.add(("list", "authorizationpolicies", ""))
    assert {"shop/cart": CREATED} == pusher.push(policy())
    assert any(line.startswith("looked in shop only: ") for line in pusher.told)


def test_without_istio_the_push_says_what_to_install(api: ApiServer, pusher: Pusher) -> None:
    api.installed.remove("authorizationpolicies")
    with pytest.raises(ClusterError, match="install Istio's CRDs"):
        pusher.push(policy())


def test_without_the_right_to_keep_revisions_nothing_is_changed(api: ApiServer, pusher: Pusher) -> None:
    api.denied.add(("create", "configmaps"))
    with pytest.raises(ClusterError, match="grant verb create on configmaps"):
        pusher.push(policy())
    assert {} == api.policies()


def test_a_server_that_is_not_there_is_named_with_its_host(api: ApiServer, pusher: Pusher) -> None:
    api.stop()
    with pytest.raises(ClusterError, match=rf"no connection to http://127\.0\.0\.1:{api.port} "):
        pusher.push(policy())
    assert [0.25, 0.5, 1.0] == pusher.waited


# --- all or nothing a workload

OLD = [policy("cart-a"), policy("cart-b")]
NEW = [policy("cart-a", paths=["/new"]), policy("cart-b", paths=["/new"])]
ADDED = [*OLD, policy("cart-c")]


@pytest.mark.parametrize(
    ("before", "wanted", "fails", "how", "outcomes"),
    [
        pytest.param(OLD, NEW, patch("cart-b"), "500", {"shop/cart-a": PUT_BACK, "shop/cart-b": REFUSED}, id="changed, then 500"),
        pytest.param([], NEW, patch("cart-b"), "500", {"shop/cart-a": PUT_BACK, "shop/cart-b": REFUSED}, id="created, then 500"),
        pytest.param([], NEW, patch("cart-b"), "403", {"shop/cart-a": PUT_BACK, "shop/cart-b": REFUSED}, id="created, then 403"),
        pytest.param(
            OLD, NEW, patch("cart-a"), "422", {"shop/cart-a": REFUSED, "shop/cart-b": NOT_REACHED}, id="the first fails"
        ),
        pytest.param(
            OLD, NEW, patch("cart-b"), "slow", {"shop/cart-a": PUT_BACK, "shop/cart-b": REFUSED}, id="no answer in time"
        ),
        pytest.param([], NEW, patch("cart-b"), "slow", {"shop/cart-a": PUT_BACK, "shop/cart-b": REFUSED}, id="created too late"),
    ],
)
def test_a_workload_that_fails_halfway_is_put_back(
    api: ApiServer,
    pusher: Pusher,
    before: list[dict[str, Any]],
    wanted: list[dict[str, Any]],
    fails: str,
    how: str,
    outcomes: dict[str, Outcome],
) -> None:
    if before:
        pusher.push(*before)
    old = {name: (spec(one), one["metadata"].get("annotations")) for name, one in api.policies().items()}
    api.when(fails, how)
    assert outcomes == pusher.push(*wanted)
    assert old == {name: (spec(one), one["metadata"].get("annotations")) for name, one in api.policies().items()}
    assert set(pusher.push(*wanted).values()) == {CHANGED if before else CREATED}, "a second push continues"


def test_a_pruned_policy_comes_back_when_its_workload_fails(api: ApiServer, pusher: Pusher) -> None:
    pusher.push(*ADDED)
    api.when("delete authorizationpolicies shop/cart-c", "500")
    outcomes = pusher.push(*NEW, prune=True)
    assert {"shop/cart-a": PUT_BACK, "shop/cart-b": PUT_BACK, "shop/cart-c": REFUSED} == outcomes
    assert {"shop/cart-a", "shop/cart-b", "shop/cart-c"} == set(api.policies())
    assert [["/a"]] * 3 == [one["spec"]["rules"][0]["to"][0]["operation"]["paths"] for one in api.policies().values()]


def test_a_connection_that_breaks_once_does_no_harm(api: ApiServer, pusher: Pusher) -> None:
    api.when(patch("cart-a"), "drop")
    api.when(patch("cart-b"), "lose")
    assert {"shop/cart-a": CREATED, "shop/cart-b": CREATED} == pusher.push(*OLD)


def test_a_server_that_goes_away_in_the_middle_leaves_a_clear_word_and_a_way_on(api: ApiServer, pusher: Pusher) -> None:
    pusher.push(*OLD, policy("pay", "pay"))
    wanted = [*NEW, policy("pay", "pay", paths=["/new"])]
    api.when(patch("cart-b"), "die")
    outcomes = pusher.push(*wanted)
    assert {"shop/cart-a": HALF_DONE, "shop/cart-b": REFUSED, "shop/pay": NOT_REACHED} == outcomes
    assert "couldn't be put back" in pusher.said("shop/cart-a")
    assert "push again" in pusher.said("shop/pay")
    assert any(line.startswith("the revision stays open") for line in pusher.told)
    api.start()
    assert {"shop/cart-a": EQUAL, "shop/cart-b": CHANGED, "shop/pay": CHANGED} == pusher.push(*wanted)
    assert {CHANGED} == set(pusher.roll_back().values()), "back to before the push that was cut short"
    assert [["/a"]] * 3 == [one["spec"]["rules"][0]["to"][0]["operation"]["paths"] for one in api.policies().values()]


@pytest.mark.parametrize("code", ["429", "503"])
def test_a_busy_server_is_asked_again_but_not_for_ever(api: ApiServer, pusher: Pusher, code: str) -> None:
    api.when(patch("cart") + DRY, code, times=2)
    assert {"shop/cart": CREATED} == pusher.push(policy())
    assert 2 == len(pusher.waited)
    api.when(lambda asked: True, code, times=100)
    with pytest.raises(ClusterError, match=rf"busy \({code}\)"):
        pusher.push(policy())
    assert 5 == len(pusher.waited)


@pytest.mark.parametrize("code", ["400", "403", "404", "422", "500"])
def test_what_is_refused_is_not_asked_again(api: ApiServer, pusher: Pusher, code: str) -> None:
    api.when(patch("cart") + DRY, code)
    with suppress(ClusterError):
        pusher.push(policy())
    assert [] == pusher.waited


def test_what_somebody_wants_stopped_ends_after_the_workload_in_hand(api: ApiServer, pusher: Pusher) -> None:
    pusher.stopping = True
    assert {"shop/cart": NOT_REACHED} == pusher.push(policy())
    assert {} == api.policies()
    pusher.stopping = False
    assert {"shop/cart": CREATED} == pusher.push(policy())


# --- pruning


def test_nothing_is_deleted_unless_it_is_asked_for_and_ours(api: ApiServer, pusher: Pusher) -> None:
    unlabelled = policy("unlabelled", "b", labels={})
    pusher.push(policy(), policy("old", "old"), unlabelled)
    api.put(policy("theirs", "c"), "kubectl")
    assert {"shop/cart": EQUAL} == pusher.push(policy())
    assert {"shop/cart": EQUAL, "shop/old": DELETED} == pusher.push(policy(), prune=True)
    assert ["shop/cart", "shop/theirs", "shop/unlabelled"] == list(api.policies())


def test_other_namespaces_are_pruned_only_when_they_are_named(api: ApiServer, pusher: Pusher) -> None:
    pusher.push(policy("theirs", namespace="bank"))
    pusher.push(policy(), prune=True)
    assert ["bank/theirs", "shop/cart"] == list(api.policies())
    pusher.push(policy(), prune=True, namespaces=("bank",))
    assert ["shop/cart"] == list(api.policies())


def test_an_object_that_changed_meanwhile_is_not_deleted(api: ApiServer, pusher: Pusher) -> None:
    pusher.push(policy("old", "old"))
    found = api.policies()["shop/old"]

    def meddle(asked: dict[str, Any]) -> bool:
        if asked["verb"] == "update" and asked["plural"] == "configmaps":
            api.put(
                {**policy("old", "old"), "metadata": {**found["metadata"], "labels": {"x": "y"}, "managedFields": []}}, "kubectl"
            )
        return False

    api.when(meddle, "drop")
    assert REFUSED == pusher.push(policy(), prune=True)["shop/old"]
    assert "someone changed it meanwhile" in pusher.said("shop/old")


# --- what is kept, logged and announced


def test_two_pushes_at_once_are_noticed_before_anything_is_changed(api: ApiServer, pusher: Pusher) -> None:
    pusher.push(policy())
    done: list[int] = []

    def push_too(asked: dict[str, Any]) -> bool:
        if asked["verb"] == "update" and asked["plural"] == "configmaps" and not done:
            done.append(1)
            stored = api.objects[("configmaps", "shop", revisions.CONFIG_MAP)]
            stored["metadata"]["resourceVersion"] = "someone else's"
        return False

    api.when(push_too, "drop")
    with pytest.raises(ClusterError, match="someone changed it meanwhile"):
        pusher.push(policy(paths=["/b"]))
    assert ["/a"] == api.policies()["shop/cart"]["spec"]["rules"][0]["to"][0]["operation"]["paths"]


def test_every_object_is_logged_with_who_and_what_it_was_before_and_after(api: ApiServer, pusher: Pusher) -> None:
    pusher.push(policy())
    pusher.push(policy(paths=["/b"]))
    pusher.push(policy(paths=["/b"]))
    first, second, third = pusher.entries()
    names = ("who", "context", "action", "object", "workload", "outcome")
    assert ("ann", "test", "push", "shop/cart", "shop/app=cart", "created") == tuple(first[name] for name in names)
    assert ("changed", first["after"]) == (second["outcome"], second["before"])
    assert None is first["before"]
    assert second["after"] != second["before"]
    assert ("", "equal", "1 policies are as wanted") == (third["object"], third["outcome"], third["reason"])


def test_a_log_that_cannot_be_written_stops_before_anything_is_sent(api: ApiServer, pusher: Pusher) -> None:
    pusher._log = pusher._log / "nowhere"
    with pytest.raises(Exception, match="audit log: expected a file that can be written"):
        pusher.push(policy())
    assert [] == api.asked


def test_each_change_is_an_event_on_its_object(api: ApiServer, pusher: Pusher) -> None:
    pusher.push(policy())
    (event,) = api.events()
    uid = api.policies()["shop/cart"]["metadata"]["uid"]
    assert ("cart", uid) == (event["involvedObject"]["name"], event["involvedObject"]["uid"])
    assert ("PolicyPushCreated", "Normal", "push by ann: created") == (event["reason"], event["type"], event["message"])


def test_an_event_that_cannot_be_written_is_said_once_and_stops_nothing(api: ApiServer, pusher: Pusher) -> None:
    api.denied.add(("create", "events"))
    assert {"shop/cart": CREATED, "shop/pay": CREATED} == pusher.push(policy(), policy("pay", "pay"))
    assert 1 == sum(line.startswith("no Event on ") for line in pusher.told)


def test_what_could_not_be_rolled_back_is_not_pushed(api: ApiServer, pusher: Pusher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revisions, "MAX_BYTES", 100)
    with pytest.raises(PolicyError, match="so that a rollback is possible"):
        pusher.push(policy())
    assert {} == api.policies()
