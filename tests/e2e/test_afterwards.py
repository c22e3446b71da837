"""What can be told only when a call is over, through real Envoys: a call that is missing, a success that shouldn't be."""

from collections.abc import Iterator
from typing import Any

import pytest

from authz_server.afterwards import WARM
from tests.e2e.parts import COOKIE, Reply, eventually
from tests.e2e.past import GATEWAY, LOGIN, ORDER, PASSWORDLESS
from tests.e2e.small_mesh import SmallMesh
from tests.e2e.traffic import new_session

ALERT_SECONDS = 2.0
"""What is promised: an alert comes within so many seconds of the call's end."""


@pytest.fixture(scope="module")
def warm(small_mesh: SmallMesh) -> SmallMesh:
    """The mesh, when the server has seen often enough what follows; twice as often, so that three callers may skip it."""
    assert {200} == {order(small_mesh).status for _ in range(2 * WARM)}
    return small_mesh


@pytest.fixture
def skipping(warm: SmallMesh) -> Iterator[SmallMesh]:
    """The mesh, while its front skips the audit."""
    warm.service.skips = True
    yield warm
    warm.service.skips = False


def order(mesh: SmallMesh, session: str = "") -> Reply:
    return mesh.call(GATEWAY, "POST", "/orders", ORDER, {"cookie": f"{COOKIE}={session or new_session()}"})


def alerts(mesh: SmallMesh, reply: Reply) -> list[dict[str, Any]]:
    """The alerts about a request."""
    lines = mesh.server.decided()
    return [line for line in lines if line["request_id"] == reply.request_id and line["basis"] == "afterwards"]


def test_an_internal_call_that_is_missing_is_an_alert(skipping: SmallMesh) -> None:
    reply = order(skipping)
    (alert,) = eventually(lambda: alerts(skipping, reply), ALERT_SECONDS)
    assert 200 == reply.status
    assert ("missing_call", "deny", False) == (alert["findings"][0]["code"], alert["verdict"], alert["refused"])
    assert "POST /orders was not followed by POST /records at shop/audit" in alert["findings"][0]["text"]
    assert skipping.front.logged(reply.request_id)["decision_id"] == alert["decision_id"]


def test_after_the_alert_its_caller_is_in_quarantine_and_nobody_else(skipping: SmallMesh) -> None:
    session = new_session()
    reply = order(skipping, session)
    (alert,) = eventually(lambda: alerts(skipping, reply), ALERT_SECONDS)
    skipping.service.skips = False

    refused = order(skipping, session)
    decision = skipping.decision(refused)
    assert (403, "quarantine", "quarantine", True) == (
        refused.status,
        decision["basis"],
        decision["findings"][0]["code"],
        decision["refused"],
    )
    assert alert["decision_id"] in decision["findings"][0]["text"]
    assert 200 == order(skipping).status


def test_what_is_audited_is_no_alert(warm: SmallMesh) -> None:
    replies = [order(warm) for _ in range(3)]
    last = order(warm)
    warm.service.skips = True
    skipped = order(warm)
    warm.service.skips = False
    eventually(lambda: alerts(warm, skipped), ALERT_SECONDS)
    assert [] == [alert for reply in (*replies, last) for alert in alerts(warm, reply)]


def test_a_login_without_password_that_succeeds_is_an_alert(small_mesh: SmallMesh) -> None:
    usual = small_mesh.call(GATEWAY, "POST", "/login", LOGIN)
    reply = small_mesh.call(GATEWAY, "POST", "/login", PASSWORDLESS)
    assert [200, 200] == [usual.status, reply.status]
    (alert,) = eventually(lambda: alerts(small_mesh, reply), ALERT_SECONDS)
    assert ("unexpected_success", "dry_run", "POST /login") == (
        alert["findings"][0]["code"],
        alert["mode"],
        alert["endpoint"],
    )
    decision = small_mesh.decision(reply)
    assert ("judged", "deny", False) == (decision["basis"], decision["verdict"], decision["refused"])
    assert [] == alerts(small_mesh, usual)
