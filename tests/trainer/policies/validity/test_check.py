"""What istiod's webhook, Envoy and meaning refuse, and what may surprise."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from authz_server.engine.errors import SettingError
from trainer.policies.validity.check import ERRORS, WARNINGS, check
from trainer.policies.validity.crd import check_schema, read_crds

ISTIO = Path(__file__).parents[5] / "shared" / "istio"


def policy(rule: object = None, annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "p", "namespace": "shop", "annotations": annotations or {"istio.io/dry-run": "true"}},
        "spec": {"selector": {"matchLabels": {"app": "cart"}}, "rules": [{} if rule is None else rule], **spec},
    }


def source(**fields: list[str]) -> dict[str, Any]:
    return {"from": [{"source": fields}]}


def operation(**fields: list[str]) -> dict[str, Any]:
    return {"to": [{"operation": fields}]}


def when(key: str, *values: str) -> dict[str, Any]:
    return {"when": [{"key": key, "values": list(values)}]}


CUSTOM: dict[str, Any] = {"action": "CUSTOM", "provider": {"name": "p"}}
IN_FORCE = {"note": "none"}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "empty source": (policy(source()), "spec.rules[0].from[0].source.expected at least one field"),
    "empty operation": (policy(operation()), "spec.rules[0].to[0].operation.expected at least one field"),
    "empty from": (policy({"from": []}), "spec.rules[0].from: expected entries"),
    "empty to": (policy({"to": []}), "spec.rules[0].to: expected entries"),
    "no source in from": (policy({"from": [{}]}), "missing required field `source`"),
    "empty value": (policy(source(namespaces=[""])), "namespaces[0]: expected a text"),
    "bad address": (policy(source(ipBlocks=["10.1.2"])), "ipBlocks[0]: expected an IP address"),
    "bad range": (policy(source(notRemoteIpBlocks=["10.0.0.0/33"])), "notRemoteIpBlocks[0]: expected an IP address"),
    "range with a mask": (policy(source(ipBlocks=["10.0.0.0/255.0.0.0"])), "expected a CIDR range with a prefix length"),
    "bad port": (policy(operation(ports=["http"])), "ports[0]: expected a port"),
    "port too large": (policy(operation(notPorts=["65536"])), "notPorts[0]: expected a port"),
    "scheme in a principal": (policy(source(principals=["spiffe://td/ns/a/sa/b"])), "without spiffe://"),
    "scheme in a condition": (policy(when("source.principal", "spiffe://td/ns/a/sa/b")), "without spiffe://"),
    "wildcard inside a principal": (policy(source(principals=["td/ns/*/sa/b"])), "expected `*` alone, first or last"),
    "wildcard inside a path": (policy(operation(paths=["/a/*/b"])), "expected `*` alone, first or last"),
    "lower-case method": (policy(operation(methods=["get"])), "upper-case"),
    "path with a query": (policy(operation(paths=["/a?b=c"])), "without query"),
    "path without slash": (policy(operation(paths=["a"])), "begins with /"),
    "named variable": (policy(operation(paths=["/a/{id}"])), "only use of braces"),
    "named variable beside a template": (policy(operation(paths=["/{*}/{id}"])), "whole segments"),
    "star beside a template": (policy(operation(paths=["/{*}/a/*"])), "whole segments"),
    "template inside a segment": (policy(operation(paths=["/a{*}"])), "whole segments"),
    "operator after two stars": (policy(operation(paths=["/{**}/{*}"])), "last operator"),
    "empty segment in a template": (policy(operation(paths=["/a//{*}"])), "no empty segment"),
    "quote in a template": (policy(operation(notPaths=['/{*}/"'])), "unreserved"),
    "the same value twice": (policy(operation(methods=["GET", "GET"])), "each value once"),
    "service accounts beside principals": (
        policy(source(serviceAccounts=["a"], principals=["b/ns/c/sa/d"])),
        "beside serviceAccounts",
    ),
    "unknown condition": (policy(when("request.path", "/")), "an attribute that Istio knows"),
    "replaced condition": (policy(when("destination.labels[version]", "v1")), "expected the selector"),
    "header without name": (policy(when("request.headers", "a")), "expected request.headers[NAME]"),
    "condition without values": (policy(when("source.namespace")), "expected values or notValues"),
    "bad address in a condition": (policy(when("remote.ip", "x")), "expected an IP address"),
    "unknown field": (policy({"too": []}), "unknown field `too`"),
    "unknown action": (policy(action="REFUSE"), "expected one of ALLOW, DENY, AUDIT, CUSTOM"),
    "DENY without rules": (policy(action="DENY", rules=[]), "DENY without rules is never triggered"),
    "CUSTOM without rules": (policy(None, IN_FORCE, rules=[], **CUSTOM), "CUSTOM without rules is never triggered"),
    "CUSTOM without provider": (policy(None, IN_FORCE, action="CUSTOM"), "expected the extension provider"),
    "ALLOW with provider": (policy(provider={"name": "p"}), "expected none with action ALLOW"),
    "CUSTOM on principals": (
        policy(source(principals=["a/ns/b/sa/c"]), IN_FORCE, **CUSTOM),
        "expected no principals with action CUSTOM",
    ),
    "CUSTOM on namespaces": (
        policy(source(notNamespaces=["a"]), IN_FORCE, **CUSTOM),
        "expected no not_namespaces with action CUSTOM",
    ),
    "CUSTOM on a claim": (policy(when("request.auth.claims[a]", "b"), IN_FORCE, **CUSTOM), "with action CUSTOM"),
    "CUSTOM as a dry run": (policy(None, **CUSTOM), "expected none with action CUSTOM"),
    "AUDIT as a dry run": (policy(None, action="AUDIT"), "expected none with action AUDIT"),
    "odd dry run": (policy(None, {"istio.io/dry-run": "yes"}), "expected true or false"),
    "two targets": (policy(targetRef={"kind": "Service", "name": "a"}), "at most one of selector"),
    "target of another kind": (policy(selector=None, targetRef={"kind": "Pod", "name": "a"}), "expected a Gateway, Service"),
    "target elsewhere": (
        policy(selector=None, targetRef={"kind": "Service", "name": "a", "namespace": "b"}),
        "can't reach into other namespaces",
    ),
    "wildcard in a label": (policy(selector={"matchLabels": {"app": "a*"}}), "matchLabels.app: expected at most 63"),
    "not an object of ours": ({"kind": "Service"}, "expected an object of kind AuthorizationPolicy"),
    "too large": (policy(operation(paths=[f"/{'x' * 100}/{i}" for i in range(2000)])), "at most 131,072 bytes"),
}

WARNED: dict[str, tuple[dict[str, Any], str]] = {
    "ALLOW without rules": (policy(rules=[]), "ALLOW refuses every call"),
    "ALLOW of everything": (policy({}), "every call is allowed"),
    "only exclusions": (policy(source(notPrincipals=["a/ns/b/sa/c"])), "callers without mutual TLS match too"),
    "a value and its exclusion": (policy(operation(methods=["GET"], notMethods=["GET"])), "it never matches"),
    "DENY without ports": (policy(operation(paths=["/a"]), action="DENY"), "on TCP ports this denies everything"),
    "no selector": (policy(operation(paths=["/a"]), selector=None), "for the whole namespace"),
    "no labels": (policy(operation(paths=["/a"]), selector={"matchLabels": {}}), "for the whole namespace"),
    "an enforced ALLOW": (policy(operation(paths=["/a"]), IN_FORCE), "refuses all else on all ports"),
    "a prefix of a name": (policy(operation(paths=["/a*"])), "longer names that begin like it"),
}

FINE: dict[str, dict[str, Any]] = {
    "every field": policy(
        {
            **source(principals=["*"], namespaces=["a", "b-*"], ipBlocks=["10.0.0.1", "10.0.0.1/8", "::1/128"]),
            **operation(
                paths=["/a", "/a/*", "*.html", "/{*}/b/{**}", "/a//b"], methods=["GET", "M-SEARCH"], ports=["0", "65535"]
            ),
            "when": [{"key": "request.headers[x-a]", "notValues": ["b"]}, {"key": "connection.sni", "values": ["c"]}],
        }
    ),
    "DENY with ports": policy(operation(paths=["/a"], ports=["80"]), action="DENY"),
    "a target": policy(operation(paths=["/a"]), selector=None, targetRef={"kind": "Service", "name": "a"}),
    "CUSTOM of everything": policy({}, IN_FORCE, **CUSTOM),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_be_refused_or_never_match_is_an_error(case: str) -> None:
    document, message = REFUSED[case]
    assert [message] == [message for problem in check(document).errors if message in problem][:1], check(document)


@pytest.mark.parametrize("case", WARNED)
def test_what_may_surprise_is_a_warning(case: str) -> None:
    document, message = WARNED[case]
    found = check(document)
    assert found.errors == ()
    assert [message] == [message for problem in found.warnings if message in problem]


@pytest.mark.parametrize("case", FINE)
def test_what_is_fine_passes_in_silence(case: str) -> None:
    found = check(FINE[case])
    assert (found.errors, found.warnings) == ((), ())


def test_every_rule_of_the_tables_is_broken_by_some_case() -> None:
    assert len({name for name, _ in (*ERRORS, *WARNINGS)}) == len(ERRORS) + len(WARNINGS)
    assert len(REFUSED) >= len(ERRORS)


def test_istios_own_policies_pass_but_for_their_placeholders() -> None:
    files = sorted(ISTIO.glob("builder/*/*-in.yaml"))
    if not files:
        pytest.skip("Istio's golden pairs aren't here")
    never_match = ("expected a method in upper-case", "expected a path that begins with /")  # istiod takes them
    problems = [
        (file.name, problem)
        for file in files
        for one in yaml.safe_load_all(file.read_bytes())
        if one and one["kind"] == "AuthorizationPolicy"
        for problem in check(one).errors
        if not any(text in problem for text in never_match)
    ]
    assert problems == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"action": "REFUSE"}, "spec.action: expected enum"),
        ({"selector": {"matchLabels": {"a*": "b"}}}, "wildcard not allowed in label key match"),
        ({"selector": {"matchLabels": {"a": "b*"}}}, "wildcard not allowed in label value match"),
        ({"targetRef": {"kind": "Service", "name": "a"}}, "only one of targetRefs or selector can be set"),
        ({"rules": [source(serviceAccounts=["a"], namespaces=["b"])]}, "Cannot set serviceAccounts with namespaces"),
        ({"rules": [{}] * 513}, "spec.rules: expected maxItems 512"),
        ({"rules": [{"too": []}]}, "spec.rules[0].too: unknown field"),
        ({"rules": [operation(ports=[80])]}, "expected type string, got '80'"),  # type: ignore[list-item]
    ],
)
def test_the_definition_refuses_what_the_api_server_does(changes: dict[str, Any], message: str) -> None:
    if not ISTIO.is_dir():
        pytest.skip("Istio's CustomResourceDefinitions aren't here")
    found = check_schema(policy(**changes), read_crds(ISTIO / "crds"))
    assert [message] == [message for problem in found if message in problem], found


@pytest.mark.parametrize(
    "text", ["kind: [", "kind: CustomResourceDefinition", "kind: CustomResourceDefinition\nspec: {names: 7}"]
)
def test_a_file_that_holds_no_definitions_is_named_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text("kind: Service")
    (tmp_path / "b.yaml").write_text(text)
    with pytest.raises(SettingError) as caught:
        read_crds(tmp_path)
    assert str(caught.value).startswith(f"crds: expected CustomResourceDefinitions in {tmp_path}/b.yaml: ")
    assert "\n" not in str(caught.value)


def test_the_definition_takes_what_is_fine() -> None:
    if not ISTIO.is_dir():
        pytest.skip("Istio's CustomResourceDefinitions aren't here")
    schemas = read_crds(ISTIO / "crds")
    fine = {
        case: {**document, "spec": {k: v for k, v in document["spec"].items() if v is not None}}
        for case, document in FINE.items()
    }
    assert {case: check_schema(document, schemas) for case, document in fine.items()} == {case: [] for case in FINE}
