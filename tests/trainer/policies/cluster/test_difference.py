"""What differs between files and cluster, field by field, and who owns what."""

from typing import Any

import pytest

from tests.trainer.policies.cluster.api_server import ApiServer
from tests.trainer.policies.cluster.pushed import Pusher, policy
from trainer.policies.cluster.delivery import diff
from trainer.policies.cluster.difference import Change, State, changes, compare, digest, show


def test_every_state_is_told_with_its_fields_and_owners(api: ApiServer, pusher: Pusher) -> None:
    pusher.push(policy("changed"), policy("equal"), policy("gone"))
    api.put(policy("theirs"), "kubectl")
    api.put(policy("nobodys"), "argo")
    wanted = [policy("changed", paths=["/b"]), policy("equal"), policy("new"), policy("theirs", dry_run=False)]
    api.asked.clear()
    assert [
        "shop/changed: changed",
        "    spec.rules[0].to[0].operation.paths",
        '      - ["/a"]',
        '      + ["/b"]',
        "shop/gone: no longer wanted",
        "shop/new: missing",
        "shop/nobodys: not ours (managed by argo)",
        "shop/theirs: not ours (managed by kubectl)",
        "    metadata.annotations.istio.io/dry-run  (owned by kubectl)",
        '      - "true"',
        "1 missing, 1 changed, 1 equal, 2 not ours, 1 no longer wanted",
    ] == list(show(diff(pusher.cluster, wanted, (), pusher.told.append)))
    assert {"list"} == {one["verb"] for one in api.asked}


def test_an_object_of_ours_that_no_file_wants_is_found_in_other_namespaces(api: ApiServer, pusher: Pusher) -> None:
    pusher.push(policy(namespace="bank"))
    (found,) = diff(pusher.cluster, [], (), pusher.told.append)
    assert ("bank", "cart", State.UNWANTED) == (found.namespace, found.name, found.state)


def rules(*paths: str) -> dict[str, Any]:
    thing = policy()
    operation = {"methods": ["GET"]}
    thing["spec"]["rules"] = [{"to": [{"operation": {**operation, "paths": [path]}}]} for path in paths]
    return thing


def rule(path: str) -> dict[str, Any]:
    return {"to": [{"operation": {"methods": ["GET"], "paths": [path]}}]}


@pytest.mark.parametrize(
    ("found", "wanted", "expected"),
    [
        pytest.param(rules("/a"), rules("/a"), [], id="equal"),
        pytest.param(rules("/a", "/c"), rules("/a", "/b", "/c"), [("spec.rules[1]", None, rule("/b"))], id="a rule more"),
        pytest.param(rules("/a", "/b", "/c"), rules("/a", "/c"), [("spec.rules[1]", rule("/b"), None)], id="a rule less"),
        pytest.param(
            policy(paths=["/a", "/b"]),
            policy(paths=["/b", "/a"]),
            [("spec.rules[0].to[0].operation.paths", ["/a", "/b"], ["/b", "/a"])],
            id="another order",
        ),
        pytest.param(policy(annotations={"other": "x"}), policy(), [], id="an annotation of somebody else"),
        pytest.param(
            policy(), policy(dry_run=False), [("metadata.annotations.istio.io/dry-run", "true", None)], id="dry run, by whomever"
        ),
        pytest.param(policy(app="b"), policy(), [("spec.selector.matchLabels.app", "b", "cart")], id="another selector"),
    ],
)
def test_what_differs_is_named_by_its_path(found: dict[str, Any], wanted: dict[str, Any], expected: list[Any]) -> None:
    assert expected == [(one.path, one.found, one.wanted) for one in changes(wanted, found)]


def test_what_means_the_same_is_equal() -> None:
    spelled, short = policy(), policy()
    del short["spec"]["action"]
    spelled["spec"]["rules"][0]["from"][0]["source"]["notPrincipals"] = []
    assert () == changes(spelled, short)


def test_an_object_with_fields_that_we_do_not_know_still_compares() -> None:
    found = policy()
    found["spec"]["later"] = {"x": 1}
    assert (Change("spec.later", {"x": 1}, None),) == changes(policy(), found)


def test_the_answer_does_not_depend_on_the_order() -> None:
    wanted = [policy("b"), policy("a")]
    assert compare(wanted, []) == compare(wanted[::-1], [])


def test_a_digest_is_of_what_an_object_says_alone() -> None:
    served = {**policy(), "status": {}}
    served["metadata"] = {**served["metadata"], "uid": "1", "resourceVersion": "2"}
    assert digest(policy()) == digest(served) != digest(policy(paths=["/b"]))
    assert None is digest(None)
