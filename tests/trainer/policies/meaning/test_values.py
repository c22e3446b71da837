"""What a value of a policy matches; `tests/e2e/test_policies.py` holds the same functions to a real Envoy."""

import pytest

from trainer.policies.meaning import values

WEB = "spiffe://td/ns/shop-prod/sa/web"


@pytest.mark.parametrize(
    ("value", "path", "expected"),
    [
        ("/items", "/items", True),
        ("/items", "/Items", False),
        ("/items", "/items/", False),
        ("/items*", "/items-of-others", True),
        ("*/items", "/a/items", True),
        ("*", "/", True),
        ("*", "", False),
        ("/a/*/c", "/a/b/c", False),
        ("/a/*/c", "/a/*/c", True),
        ("/users/{*}", "/users/7", True),
        ("/users/{*}", "/users/7;v=1", True),
        ("/users/{*}", "/users/a%2Fb", True),
        ("/users/{*}", "/users/a*b", True),
        ("/users/{*}", "/users/", False),
        ("/users/{*}", "/users/7/", False),
        ("/users/{*}", "/users//7", False),
        ("/users/{*}", '/users/"7"', False),
        ("/{**}", "/", True),
        ("/{**}", "/a//b/", True),
        ("/a/{**}", "/a", False),
        ("/a/{**}/z", "/a//z", True),
        ("/a/{**}/z", "/a/z", False),
        ("/a/{*}/{**}/z", "/a/b/c/d/z", True),
        ("/{**}", "/a|b", False),
    ],
)
def test_a_path_matches(value: str, path: str, expected: bool) -> None:
    assert expected == values.matches_path(value, path)


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        (True, values.matches_principal("td/ns/shop-prod/sa/web", WEB)),
        (False, values.matches_principal(WEB, WEB)),
        (True, values.matches_principal("td/*", WEB)),
        (True, values.matches_principal("*/web", WEB)),
        (False, values.matches_principal("*", "")),
        (True, values.matches_namespace("*-prod", WEB)),
        (True, values.matches_namespace("s*d", WEB)),
        (False, values.matches_namespace("shop", WEB)),
        (True, values.matches_service_account("web", WEB, "shop-prod")),
        (False, values.matches_service_account("web", WEB, "shop")),
        (False, values.matches_service_account("shop-prod/we", WEB, "shop")),
        (True, values.matches_trust_domain("t*", WEB)),
        (False, values.matches_trust_domain("cluster.local", WEB)),
        (True, values.matches_host("*.TEST", "shop.test")),
        (False, values.matches_host("shop.test", "shop.test:80")),
        (True, values.matches_address("10.0.0.0/8", "10.1.2.3")),
        (False, values.matches_address("::1", "127.0.0.1")),
        (True, values.matches_request_principal("https://a/b/me", {"iss": "https://a/b", "sub": "me"})),
        (False, values.matches_request_principal("*", {"iss": "a"})),
        (True, values.matches_claim("a*", ["b", "ab"])),
        (False, values.matches_claim("*", 7)),
    ],
)
def test_a_value_matches(expected: bool, found: bool) -> None:
    assert expected == found


def test_a_port_that_is_none_is_told() -> None:
    with pytest.raises(values.InapplicableError, match="expected a port"):
        values.matches_port("http", 80)
