"""Random policies and requests that have much to do with each other: what the differential test asks Envoy and `match`."""

import random
from typing import Any, Final, NamedTuple

from demo.identities import Identity
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

IDENTITIES: Final = (
    Identity("shop", "web"),
    Identity("shop", "audit"),
    Identity("shop-prod", "web"),
    Identity("bookinfo", "web-2"),
    Identity("prod", "shop"),
)
PEERS: Final = (
    "",
    *(identity.principal for identity in IDENTITIES),
    "spiffe://cluster.local/ns/shop/sa/web",
    "spiffe://demo.local/cluster/eu/ns/shop/zone/a/sa/web/extra/1",
    "spiffe://demo.local/ns/shop/sa/web-2",
    "demo.local/ns/shop/sa/web",
)
"""What may stand in filter state; the first is a caller without mTLS."""
CLAIMS: Final[dict[str, Any]] = {
    "iss": "https://issuer.test/shop",
    "sub": "alice",
    "aud": ["web", "app-1"],
    "azp": "front",
    "groups": ["admin", "dev"],
    "nested": {"team": "blue"},
}
NAMES: Final = ("localhost", "api.shop.test", "")
SOURCES: Final = ("127.0.0.1", "127.0.0.2", "127.7.0.1")
_METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "PROPFIND")
_HOSTS = ("shop.test", "SHOP.Test", "shop.test:8080", "api.shop.test", "shop.test.evil", "test")
_TARGETS = (
    "/", "/items", "/items/", "/items/7", "/items/7/", "/items//7", "//items/7", "/items/a%2Fb", "/items/a%2fb", "/items/7;v=1",
    "/ITEMS/7", "/items/a%20b", "/items/a*b", "/items/%7Ejoe", "/%69tems/7", "/items/./7", "/items/../cart", "/items/%2e%2e/cart",
    "/cart", "/cart/7/items", "/cart//items", "/cart/7/8/items", "/cartx", "/cart/items", "/items/7?x=/cart", "/items?x=1",
    '/items/"x"', "/items/a|b", "/items/%C3%A9", "/items/[1]", "/items/7%3Fx", "/items%2f7", "/items\\7", "/cart/7/items/",
    "/a/*/c", "/a/b/c", "/items/a:b@c", "/items/a=b&c", "/items/a,b+c!$'()", "/items/^", "/items/{7}", "/items/%25", "/7",
    "http://shop.test/items/7", "/items/7;/../..;/cart", "/items/a%5Cb", "/items/%3B", "/cart;x/7/items", "/items;a=1/7",
)  # fmt: skip
_PATHS = (
    "/", "/items", "/items/", "/items/7", "/items/a%2Fb", "/items/~joe", "/cart", "//items/7", "/items/*", "/items*", "/cart*",
    "*/items", "*7", "*", "*/", "/i*", "/a/*/c", "/items/{*}", "/{*}", "/{*}/{*}", "/cart/{*}/items", "/items/{**}", "/{**}",
    "/{**}/items", "/cart/{**}/items", "/{*}/{**}", "/{*}/7", "/cart/{*}/{**}/items", "/ITEMS/{*}", "/items/{*}/",
)  # fmt: skip
_PRINCIPALS = (
    "demo.local/ns/shop/sa/web", "demo.local/ns/shop/sa/audit", "*", "*/sa/web", "demo.local/ns/shop/*", "demo.local/*", "*b",
    "*2", "spiffe://demo.local/ns/shop/sa/web", "cluster.local/ns/shop/sa/web", "demo.local/ns/*/sa/web",
    "demo.local/ns/prod/sa/shop",
)  # fmt: skip
_NAMESPACES = ("shop", "*", "shop-*", "*-prod", "sh*", "*p", "s*p", "foo", "prod", "book.nfo")
_ACCOUNTS = ("web", "shop/web", "shop-prod/web", "we", "prod/shop", "bookinfo/web-2")
_ADDRESSES = ("127.0.0.1", "127.0.0.0/8", "10.0.0.0/8", "127.0.0.2", "::1", "0.0.0.0/0", "2001:db8::/32", "127.7.0.0/16")
_REMOTE = ("203.0.113.9", "203.0.113.0/24", "127.0.0.1", "127.0.0.0/8")
_TOKENS = (
    "https://issuer.test/shop/alice", "*", "*/alice", "https://issuer.test/shop/*", "https://issuer.test/shop/al*", "*alice",
    "https*", "*shop/alice", "alice", "https://issuer.test/shop/bob",
)  # fmt: skip
_COLORS = ("red", "blue", "", "red,blue", "rose")


class Case(NamedTuple):
    """One request: `id` its number, `group` the policies it meets; `target`, `host` and `color` as they are sent."""

    id: int
    group: int
    port: int
    peer: str
    method: str
    target: str
    host: str
    color: tuple[str, ...]
    forwarded: str
    source: str
    name: str


def policies(rng: random.Random, ports: list[int], namespace: str = "shop") -> list[AuthorizationPolicy]:
    """Make what applies to one workload: one to five policies of any action but CUSTOM, some of them in dry run."""
    count = rng.choice((1, 1, 2, 2, 3, 4, 5))
    return [_policy(rng, number, ports, namespace) for number in range(count)]


def request(rng: random.Random, number: int, group: int, port: int, peer: str, name: str) -> Case:
    """Make a request; about half of them have something that policies like to name."""
    colors = () if rng.random() < 0.4 else tuple(rng.choices(_COLORS, k=rng.choice((1, 1, 2))))
    forwarded = rng.choice(("", "", "203.0.113.9", "198.51.100.1, 203.0.113.77", "203.0.113.9, 198.51.100.1"))
    method, target, host = rng.choice(_METHODS), rng.choice(_TARGETS), rng.choice(_HOSTS)
    return Case(number, group, port, peer, method, target, host, colors, forwarded, rng.choice(SOURCES), name)


def _policy(rng: random.Random, number: int, ports: list[int], namespace: str) -> AuthorizationPolicy:
    action = rng.choice(("ALLOW", "ALLOW", "ALLOW", "DENY", "DENY", "AUDIT"))
    rules = () if action == "ALLOW" and rng.random() < 0.05 else tuple(_rule(rng, ports) for _ in range(rng.randint(1, 4)))
    if rng.random() < 0.03:
        rules += tuple(_rule(rng, ports) for _ in range(9))  # so that there is a rule[10], which sorts before rule[2]
    annotations = {DRY_RUN: "true"} if rng.random() < 0.3 else {}
    return AuthorizationPolicy(
        Metadata(f"p{rng.randrange(10)}{number}", namespace, annotations=annotations), Spec(action=action, rules=rules)
    )


def _rule(rng: random.Random, ports: list[int]) -> Rule:
    if rng.random() < 0.04:
        return Rule()
    sources = tuple(From(_source(rng)) for _ in range(rng.choice((0, 0, 1, 1, 2))))
    operations = tuple(To(_operation(rng, ports)) for _ in range(rng.choice((0, 1, 1, 1, 2))))
    conditions = tuple(_condition(rng, ports) for _ in range(rng.choice((0, 0, 0, 1, 2))))
    return Rule(sources, operations, conditions)


def _source(rng: random.Random) -> Source:
    pools = {
        "principals": _PRINCIPALS,
        "namespaces": _NAMESPACES,
        "service_accounts": _ACCOUNTS,
        "ip_blocks": _ADDRESSES,
        "remote_ip_blocks": _REMOTE,
        "request_principals": _TOKENS,
    }
    return Source(**_fields(rng, pools, (5, 4, 3, 1, 1, 1)))


def _operation(rng: random.Random, ports: list[int]) -> Operation:
    pools = {
        "paths": _PATHS,
        "methods": (*_METHODS, "P*", "*T", "*", "GE*", "get"),
        "hosts": (*_HOSTS, "*.test", "shop.*", "*", "shop.test:*", "*:8080"),
        "ports": tuple(str(port) for port in (*ports, 80)),
    }
    return Operation(**_fields(rng, pools, (6, 4, 2, 2)))


def _fields(rng: random.Random, pools: dict[str, tuple[str, ...]], weights: tuple[int, ...]) -> dict[str, tuple[str, ...]]:
    found = {}
    for name in set(rng.choices(list(pools), weights, k=rng.choice((1, 1, 2, 3)))):
        key = f"not_{name}" if rng.random() < 0.25 else name
        found[key] = tuple(dict.fromkeys(rng.choices(pools[name], k=rng.choice((1, 2, 3, 4)))))
    return found


def _condition(rng: random.Random, ports: list[int]) -> Condition:
    pools: dict[str, tuple[str, ...]] = {
        "source.namespace": _NAMESPACES,
        "source.principal": _PRINCIPALS,
        "source.serviceAccount": _ACCOUNTS,
        "source.trustDomain": ("demo.local", "*", "demo.*", "*.local", "cluster.local", "d*l"),
        "source.ip": _ADDRESSES,
        "remote.ip": _REMOTE,
        "destination.ip": _ADDRESSES,
        "destination.port": tuple(str(port) for port in (*ports, 80)),
        "connection.sni": ("localhost", "*.test", "*", "api.*"),
        "request.headers[X-Color]": ("red", "r*", "*d", "*", "blue", "*e"),
        "request.headers[:method]": ("GET", "P*"),
        "request.auth.principal": _TOKENS,
        "request.auth.audiences": ("web", "app-*", "*", "other"),
        "request.auth.presenter": ("front", "*t", "back"),
        "request.auth.claims[groups]": ("admin", "*v", "none"),
        "request.auth.claims[nested][team]": ("blue", "b*", "red"),
        "experimental.envoy.filters.http.jwt_authn[other]": ("x", "[y]"),
    }
    key = rng.choice(list(pools))
    some = tuple(dict.fromkeys(rng.choices(pools[key], k=rng.choice((1, 2)))))
    others = tuple(dict.fromkeys(rng.choices(pools[key], k=1)))
    kind = rng.random()
    return Condition(key, () if kind < 0.2 else some, others if kind < 0.4 else ())
