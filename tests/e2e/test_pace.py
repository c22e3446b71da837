"""A caller that goes faster than any did while the traffic was learned, through a real Envoy: 429, for it alone."""

import itertools
import uuid
from typing import Any, Final

import grpc
import pytest

from tests.e2e.echo import GRPC_METHOD, GRPC_SERVICE
from tests.e2e.parts import COOKIE, AuthzServer, Client, Proxy, Reply, channel
from tests.e2e.traffic import add, browse, new_session, pay, ship

MOST_CALLS: Final = 400
"""By then a caller is too fast, since in the traffic that was learned most make a dozen calls."""


def hurry(client: Client) -> Reply:
    """Buy again and again, until there is another answer than 200."""
    steps = itertools.islice(itertools.cycle((browse(), add(), pay(), ship())), MOST_CALLS)
    return next(reply for step in steps if (reply := client.take(step)).status != 200)


def talk(opened: grpc.Channel) -> None:
    """Say more than anybody would."""
    say = opened.unary_unary(f"/{GRPC_SERVICE}/{GRPC_METHOD}")
    metadata = [("cookie", f"{COOKIE}={new_session()}")]
    for _ in range(MOST_CALLS):
        say(b"hello 7", metadata=metadata, timeout=5)


def test_who_goes_too_fast_is_told_when_to_come_back_and_others_are_served(enforcing: AuthzServer, proxy: Proxy) -> None:
    with proxy.client() as fast, proxy.client() as other:
        reply = hurry(fast)
        assert [429, 200] == [client.take(browse()).status for client in (fast, other)]
    assert (429, "application/problem+json") == (reply.status, reply.headers["content-type"])
    assert 1 <= int(reply.headers["retry-after"]) <= 1200
    assert {
        "type": "about:blank",
        "title": "Too Many Requests",
        "status": 429,
        "detail": "Too many requests; please come back later.",
        "instance": f"urn:uuid:{uuid.UUID(reply.decision_id)}",
        "decision_id": reply.decision_id,
    } == reply.json
    decision = enforcing.decision(reply.decision_id)
    assert ("judged", "deny", True) == (decision["basis"], decision["verdict"], decision["refused"])
    assert decision["findings"][0]["code"].startswith("pace_")
    assert ("deny", 429) == tuple(proxy.logged(reply.request_id)[name] for name in ("verdict", "status"))


def test_an_odd_call_of_a_caller_that_goes_too_fast_is_refused_for_good(enforcing: AuthzServer, proxy: Proxy) -> None:
    with proxy.client() as fast:
        assert 429 == hurry(fast).status
        reply = fast.call("GET", "/items/1007?debug=true")
    assert (403, None) == (reply.status, reply.headers.get("retry-after"))


def test_a_grpc_caller_that_goes_too_fast_sees_unavailable(enforcing: AuthzServer, grpc_proxy: Proxy) -> None:
    """So Envoy translates 429, as gRPC's mapping of HTTP statuses says; the code in our answer stays between Envoy and us."""
    with channel(grpc_proxy.address) as opened, pytest.raises(grpc.RpcError) as error:
        talk(opened)
    refusal: Any = error.value
    headers = dict([*refusal.initial_metadata(), *refusal.trailing_metadata()])
    assert grpc.StatusCode.UNAVAILABLE is refusal.code()
    assert 1 <= int(headers["retry-after"]) <= 1200
    assert enforcing.decision(headers["x-authz-decision-id"])["findings"][0]["code"].startswith("pace_")
