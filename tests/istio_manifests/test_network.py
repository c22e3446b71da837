"""Who may reach what: NetworkPolicies, mutual TLS and the mesh's own policies fit the ports and pods that there are."""

from typing import Any

import pytest

from tests.istio_manifests.manifests import build, build_combination, named, of_kind, pods

FULL = "overlays/full"


def selects(policy: dict[str, Any], labels: dict[str, str]) -> bool:
    return bool(policy["spec"]["podSelector"].get("matchLabels", {}).items() <= labels.items())


def ports(rule: dict[str, Any]) -> set[int]:
    return {port["port"] for port in rule["ports"]}


def test_every_pod_of_ours_is_closed_both_ways_but_for_what_is_named() -> None:
    objects = build(FULL)
    policies = of_kind(objects, "NetworkPolicy")
    for name, metadata, _ in pods(objects):
        directions = {way for policy in policies if selects(policy, metadata["labels"]) for way in policy["spec"]["policyTypes"]}

        assert (name, directions) == (name, {"Ingress", "Egress"})


def test_every_network_policy_selects_a_pod() -> None:
    for combination in (("../base", "trainer", "object-store", "redis"), ("../base", "trainer", "pvc", "redis")):
        objects = list(build_combination(combination))
        for policy in of_kind(objects, "NetworkPolicy"):
            assert any(selects(policy, metadata["labels"]) for _, metadata, _ in pods(objects)), policy["metadata"]["name"]


def test_envoys_reach_the_check_port_and_only_prometheus_the_admin_port() -> None:
    envoys, prometheus = named(build(FULL), "NetworkPolicy", "authz-server")["spec"]["ingress"]

    assert envoys["from"] == [{"namespaceSelector": {}}]
    assert ports(envoys) == {9191, 15008}
    assert prometheus["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    assert 9192 in ports(prometheus)


def test_redis_is_reached_by_the_server_alone_and_the_server_reaches_it() -> None:
    objects = build(FULL)
    [into] = named(objects, "NetworkPolicy", "meshwarden-redis")["spec"]["ingress"]
    [out] = named(objects, "NetworkPolicy", "authz-server-redis")["spec"]["egress"]
    address = named(objects, "ConfigMap", "meshwarden-settings")["data"]["AUTHZ_HISTORY"]

    assert into["from"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "authz-server"}}}]
    assert out["to"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "meshwarden-redis"}}}]
    assert 6379 in ports(into) & ports(out)
    assert address == f"redis://{named(objects, 'Service', 'meshwarden-redis')['metadata']['name']}:6379/0"


def test_a_server_with_an_object_store_reaches_it_and_one_without_does_not() -> None:
    def outside(*components: str) -> list[set[int]]:
        objects = list(build_combination(("../base", *components)))
        rules = [rule for policy in of_kind(objects, "NetworkPolicy") for rule in policy["spec"].get("egress", ())]
        return [ports(rule) for rule in rules if "to" not in rule]

    assert outside("object-store") == [{443}]
    assert outside("pvc") == []


@pytest.mark.parametrize("name", ["authz-server", "collector", "meshwarden-redis"])
def test_a_server_of_ours_takes_calls_of_the_mesh_only(name: str) -> None:
    objects = build(FULL)
    peers = named(objects, "PeerAuthentication", name)["spec"]
    policy = named(objects, "AuthorizationPolicy", name)["spec"]
    [labels] = [metadata["labels"] for owner, metadata, _ in pods(objects) if owner == name]

    assert peers["selector"] == policy["selector"] == {"matchLabels": {"app.kubernetes.io/name": name}}
    assert labels["sidecar.istio.io/inject"] == "true"
    assert peers["mtls"] == {"mode": "STRICT"}
    assert policy["action"] == "ALLOW"
    open_ports = {
        port for rule in policy["rules"] if "from" not in rule for to in rule["to"] for port in to["operation"]["ports"]
    }
    assert open_ports == set(peers.get("portLevelMtls", {})) == ({"9192"} if name == "authz-server" else set())


def test_the_server_s_own_calls_are_neither_judged_nor_logged_to_itself() -> None:
    objects = build(FULL)
    [telemetry] = of_kind(objects, "Telemetry")

    assert [one for one in of_kind(objects, "AuthorizationPolicy") if one["spec"]["action"] == "CUSTOM"] == []
    assert telemetry["spec"]["accessLogging"] == [{"disabled": True}]
    for name, metadata, _ in pods(objects):
        assert "meshwarden" not in metadata["labels"], name  # what the CUSTOM policies select
        assert telemetry["spec"]["selector"]["matchLabels"].items() <= metadata["labels"].items()


def test_a_pod_can_have_one_provider_only_and_none_without_its_label() -> None:
    policies = [
        one for place in ("overlays/protected", "overlays/sidecar") for one in of_kind(build(place), "AuthorizationPolicy")
    ]
    selectors = [one["spec"]["selector"]["matchLabels"] for one in policies]

    assert all(set(selector) == {"meshwarden"} for selector in selectors)
    assert len({selector["meshwarden"] for selector in selectors}) == len(selectors) == 3


def test_who_is_asked_is_told_how_it_ended_and_in_both_directions() -> None:
    for place in ("overlays/protected", "overlays/sidecar"):
        objects = build(place)
        for policy in of_kind(objects, "AuthorizationPolicy"):
            telemetry = named(objects, "Telemetry", policy["metadata"]["name"])["spec"]

            assert telemetry["selector"] == policy["spec"]["selector"]
            assert [one["match"]["mode"] for one in telemetry["accessLogging"]] == ["CLIENT_AND_SERVER"]


def test_what_push_may_do_is_what_it_does_and_no_more() -> None:
    def rights(*components: str) -> dict[str, list[tuple[tuple[str, ...], tuple[str, ...]]]]:
        [role] = of_kind(list(build_combination(("../protected", *components))), "Role")
        found: dict[str, list[tuple[tuple[str, ...], tuple[str, ...]]]] = {}
        for rule in role["rules"]:
            [resource] = rule["resources"]
            found.setdefault(resource, []).append((tuple(rule["verbs"]), tuple(rule.get("resourceNames", ()))))
        return found

    usual = {
        "authorizationpolicies": [(("get", "list", "create", "patch"), ())],
        "configmaps": [(("create",), ()), (("get", "update"), ("meshwarden-revisions",))],
        "events": [(("create",), ())],
    }
    assert rights("push") == usual
    pruning = rights("push", "push-prune")
    assert pruning == usual | {"authorizationpolicies": [(("get", "list", "create", "patch", "delete"), ())]}


def test_rights_are_given_to_push_s_own_account_in_its_namespace() -> None:
    objects = build("overlays/protected")
    [binding] = of_kind(objects, "RoleBinding")

    assert of_kind(objects, "ClusterRole", "ClusterRoleBinding") == []
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "meshwarden-push", "namespace": "shop"}]
    assert {one["metadata"]["namespace"] for one in objects} == {"shop"}
