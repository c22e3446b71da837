"""What policies say about a request: order, defaults, dry run, what isn't known, and ports without HTTP."""

from typing import Any

import pytest

from trainer.policies.meaning.match import Decision, Request, Shadow, decide
from trainer.policies.policy import (
    DRY_RUN,
    AuthorizationPolicy,
    Condition,
    From,
    Metadata,
    Operation,
    Rule,
    Source,
    Spec,
    To,
)

WEB = "spiffe://td/ns/shop/sa/web"


def policy(name: str, action: str = "ALLOW", *rules: Rule, dry_run: bool = False) -> AuthorizationPolicy:
    metadata = Metadata(name, "shop", annotations={DRY_RUN: "true"} if dry_run else {})
    return AuthorizationPolicy(metadata, Spec(action=action, rules=rules))


def rule(who: Source | None = None, what: Operation | None = None, *when: Condition) -> Rule:
    return Rule((From(who),) if who else (), (To(what),) if what else (), when)


def get(**changes: Any) -> Request:
    usual: dict[str, Any] = {"principal": WEB, "method": "GET", "path": "/items", "host": "shop", "port": 80, "headers": {}}
    return Request(**usual | changes)


GETS = rule(what=Operation(methods=("GET",)))
POSTS = rule(what=Operation(methods=("POST",)))


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        pytest.param([], (True, ""), id="without policies all is allowed"),
        pytest.param([policy("a")], (False, ""), id="ALLOW without rules refuses all"),
        pytest.param([policy("a", "ALLOW", Rule())], (True, "a 0"), id="an empty rule matches all"),
        pytest.param([policy("a", "ALLOW", POSTS, GETS)], (True, "a 1"), id="any rule is enough"),
        pytest.param([policy("a", "ALLOW", POSTS)], (False, ""), id="no rule matches"),
        pytest.param([policy("a", "ALLOW", Rule()), policy("b", "DENY", GETS)], (False, "b 0"), id="DENY is first"),
        pytest.param([policy("b", "DENY", POSTS)], (True, ""), id="DENY that doesn't match, and no ALLOW"),
        pytest.param([policy("a", "AUDIT", GETS)], (True, ""), id="AUDIT refuses nothing"),
        pytest.param([policy("a", "CUSTOM", GETS)], (True, ""), id="CUSTOM is taken to allow"),
        pytest.param([policy("a", "ALLOW", POSTS, dry_run=True)], (True, ""), id="a dry run isn't default-deny"),
        pytest.param([policy("a", "DENY", GETS, dry_run=True)], (True, ""), id="a dry run refuses nothing"),
        pytest.param([policy("a", "DENY", *[POSTS] * 2, *[GETS] * 9)], (False, "a 10"), id="rules are tried in order of names"),
        pytest.param(
            [policy("a", "ALLOW", rule(None, None, Condition("no.such", ("x",))))], (False, ""), id="unknown attribute, ALLOW"
        ),
        pytest.param(
            [policy("a", "DENY", rule(None, None, Condition("no.such", ("x",))))], (True, ""), id="unknown attribute, DENY"
        ),
    ],
)
def test_a_request_is_decided_in_istios_order(policies: list[AuthorizationPolicy], expected: tuple[bool, str]) -> None:
    found = decide(policies, get())
    name, _, number = expected[1].partition(" ")
    assert (expected[0], f"ns[shop]-policy[{name}]-rule[{number}]" if name else "") == (found.allowed, found.rule)


def test_dry_run_and_custom_leave_results_of_their_own() -> None:
    policies = [
        policy("a", "ALLOW", POSTS, dry_run=True),
        policy("d", "DENY", GETS, dry_run=True),
        policy("c", "CUSTOM", GETS),
    ]
    expected = Decision(
        allowed=True,
        asks="ns[shop]-policy[c]-rule[0]",
        shadow_deny=Shadow(allowed=False, rule="ns[shop]-policy[d]-rule[0]"),
        shadow_allow=Shadow(allowed=False),
    )
    assert expected == decide(policies, get())


HOST = rule(what=Operation(hosts=("shop",)))


@pytest.mark.parametrize(
    ("policies", "allowed", "unknown"),
    [
        ([policy("a", "ALLOW", HOST)], None, ("host",)),
        ([policy("a", "ALLOW", HOST, GETS)], True, ()),
        ([policy("a", "ALLOW", rule(what=Operation(hosts=("shop",), methods=("POST",))))], False, ()),
        ([policy("a", "DENY", HOST)], None, ("host",)),
        ([policy("a", "DENY", HOST), policy("b", "ALLOW", POSTS)], False, ()),
        ([policy("a", "ALLOW", rule(Source(ip_blocks=("10.0.0.0/8",))))], None, ("source.ip",)),
        (
            [policy("a", "ALLOW", rule(None, None, Condition("request.headers[a]", (), ("1",))))],
            None,
            ("request.headers[a]",),
        ),
        ([policy("a", "ALLOW", rule(Source(request_principals=("*",))))], None, ("token",)),
    ],
)
def test_what_is_not_known_counts_only_where_it_would_change_the_answer(
    policies: list[AuthorizationPolicy], allowed: bool | None, unknown: tuple[str, ...]
) -> None:
    found = decide(policies, get(host=None, headers=None))
    assert (allowed, unknown) == (found.allowed, found.unknown)


@pytest.mark.parametrize(
    ("policies", "allowed"),
    [
        ([policy("a", "ALLOW", rule(what=Operation(methods=("GET",), ports=("80",))))], False),
        ([policy("a", "ALLOW", rule(what=Operation(ports=("80",))))], True),
        ([policy("a", "DENY", rule(what=Operation(methods=("GET",), ports=("80",))))], False),
        ([policy("a", "DENY", rule(what=Operation(methods=("GET",), ports=("81",))))], True),
        ([policy("a", "DENY", rule(what=Operation(paths=("/admin",))))], False),
    ],
)
def test_http_attributes_on_a_tcp_port_drop_allow_rules_and_widen_deny_rules(
    policies: list[AuthorizationPolicy], allowed: bool
) -> None:
    assert allowed == decide(policies, Request(principal=WEB, port=80, tcp=True)).allowed


def test_a_caller_without_mtls_matches_only_what_asks_for_nobody() -> None:
    named = policy("a", "ALLOW", rule(Source(principals=("*",))))
    others = policy("a", "ALLOW", rule(Source(not_principals=("td/ns/shop/sa/web",))))
    assert (False, True) == (decide([named], get(principal="")).allowed, decide([others], get(principal="")).allowed)
