"""Sessions from the claims of a JSON Web Token that Envoy's own filter verified or, where told so, of the bearer token itself."""

import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any, Final

import pytest
from envoy_data_plane.envoy.config.bootstrap.v3 import Bootstrap
from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.config.route.v3 import RouteMatch
from envoy_data_plane.envoy.extensions.filters.http.ext_authz.v3 import ExtAuthz
from envoy_data_plane.envoy.extensions.filters.http.jwt_authn.v3 import (
    JwtAuthentication,
    JwtProvider,
    JwtRequirement,
    RequirementRule,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpConnectionManager, HttpFilter

from authz_server.request import JWT_NAMESPACE
from demo.envoy_config import EXT_AUTHZ
from demo.envoy_parts import packed
from tests.e2e.parts import AuthzServer, Proxy, Reply
from tests.e2e.traffic import Step, add, pay, ship

SECRET: Final = b"a secret that only who issues tokens and Envoy know"
FORGED: Final = b"a secret that somebody else made up, just as long.."
ISSUER: Final = "https://tokens.test"


def token(subject: str, serial: int = 1, secret: bytes = SECRET) -> str:
    """Issue a token (RFC 7519) with an HMAC (RFC 7515, A.1); `serial` makes it another one of the same subject."""
    parts = [{"alg": "HS256", "typ": "JWT"}, {"iss": ISSUER, "sub": subject, "jti": f"t{serial}", "exp": 4_102_444_800}]
    signed = ".".join(_encoded(json.dumps(part).encode()) for part in parts)
    return f"{signed}.{_encoded(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


def _encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def with_verified_tokens(bootstrap: Bootstrap) -> Bootstrap:
    """Put Envoy's `jwt_authn` before our filter, and have it tell us the claims that it verified."""
    assert bootstrap.static_resources is not None
    filter_ = bootstrap.static_resources.listeners[0].filter_chains[0].filters[0]
    assert filter_.typed_config is not None
    manager = filter_.typed_config.unpack()
    assert isinstance(manager, HttpConnectionManager)
    (ours,) = [one for one in manager.http_filters if one.name == EXT_AUTHZ]
    assert ours.typed_config is not None
    asking = ours.typed_config.unpack()
    assert isinstance(asking, ExtAuthz)
    asking.metadata_context_namespaces = [JWT_NAMESPACE]
    ours.typed_config = packed(asking)
    manager.http_filters.insert(0, HttpFilter(name=JWT_NAMESPACE, typed_config=packed(_jwt_authn())))
    filter_.typed_config = packed(manager)
    return bootstrap


def _jwt_authn() -> JwtAuthentication:
    keys = {"keys": [{"kty": "oct", "alg": "HS256", "k": _encoded(SECRET)}]}
    provider = JwtProvider(
        issuer=ISSUER, local_jwks=DataSource(inline_string=json.dumps(keys)), forward=True, payload_in_metadata="payload"
    )
    rule = RequirementRule(match=RouteMatch(prefix="/"), requires=JwtRequirement(provider_name="tests"))
    return JwtAuthentication(providers={"tests": provider}, rules=[rule])


class Caller:
    """Somebody with tokens, of which each request takes the next."""

    def __init__(self, proxy: Proxy, server: AuthzServer, subject: str, secret: bytes = SECRET) -> None:
        self._proxy, self._server, self._subject, self._secret = proxy, server, subject, secret
        self._tokens = 0

    def call(self, step: Step) -> Reply:
        self._tokens += 1
        bearer = {"authorization": f"Bearer {token(self._subject, self._tokens, self._secret)}"}
        return self._proxy.call(*step, headers=bearer)

    def decisions(self, *steps: Step) -> list[dict[str, Any]]:
        """Take steps, each with a token of its own; return what was decided."""
        replies = [self.call(step) for step in steps]
        assert {200} == {reply.status for reply in replies}
        ids = [self._proxy.logged(reply.request_id)["decision_id"] for reply in replies]
        return [self._server.decision(decision_id) for decision_id in ids]


def out_of_order(decisions: list[dict[str, Any]]) -> list[bool]:
    return ["precedence" in [finding["code"] for finding in decision["findings"]] for decision in decisions]


def sessions(decisions: list[dict[str, Any]]) -> set[str]:
    return {decision["session"] for decision in decisions}


VERIFIED: Final = {"session": [{"claim": "sub"}]}
UNVERIFIED: Final = {"session": [{"claim": "sub", "unverified": True}]}


@pytest.mark.parametrize(
    ("policy", "changes"),
    [(VERIFIED, {"change": with_verified_tokens}), (UNVERIFIED, {})],
    ids=["verified by Envoy", "read from the bearer token"],
)
def test_two_tokens_of_one_subject_are_one_caller(
    policy: dict[str, Any],
    changes: dict[str, Any],
    make_server: Callable[..., AuthzServer],
    make_proxy: Callable[..., Proxy],
) -> None:
    """In dry run, since the traffic that was learned knows no tokens."""
    server = make_server("dry_run", **policy)
    proxy = make_proxy(server.listen, **changes)
    alice, bob = (Caller(proxy, server, name) for name in ("alice", "bob"))
    first = alice.decisions(add())
    between = bob.decisions(add(), pay())
    then = alice.decisions(ship(), add(), pay(), ship())
    last = bob.decisions(ship())
    assert [True, False, False, False] == out_of_order(then)
    assert [False, False, False, False] == out_of_order(first + between + last)
    assert [1, 1, 2] == [len(sessions(some)) for some in (first + then, between + last, first + between)]
    assert "" not in sessions(first + between)


def test_a_forged_token_gets_no_answer_of_ours(make_server: Callable[..., AuthzServer], make_proxy: Callable[..., Proxy]) -> None:
    server = make_server("dry_run", **VERIFIED)
    proxy = make_proxy(server.listen, change=with_verified_tokens)
    reply = Caller(proxy, server, "alice", FORGED).call(add())
    assert (401, None) == (reply.status, proxy.logged(reply.request_id)["decision_id"])
    assert 0 == server.metric("authz_decisions_total")


def test_where_only_verified_claims_count_an_unverified_token_names_nobody(
    make_server: Callable[..., AuthzServer], make_proxy: Callable[..., Proxy]
) -> None:
    server = make_server("dry_run", **VERIFIED)
    proxy = make_proxy(server.listen)
    assert {""} == sessions(Caller(proxy, server, "alice").decisions(add(), ship()))
