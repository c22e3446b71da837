"""Who calls whom through real Envoys with mutual TLS: lateral movement, and strangers."""

import pytest

from demo.identities import Identity
from tests.e2e.past import GATEWAY, OPERATIONS, ORDER, REPORTS, STRANGER
from tests.e2e.small_mesh import SmallMesh
from tests.e2e.traffic import Step

READ, BUY = Step("GET", REPORTS), Step("POST", "/orders", ORDER)


@pytest.mark.parametrize(
    ("source", "step"), [(GATEWAY, BUY), (OPERATIONS, READ)], ids=["the gateway orders", "operations read reports"]
)
def test_a_principal_is_served_where_it_always_calls(source: Identity, step: Step, small_mesh: SmallMesh) -> None:
    assert 200 == small_mesh.call(source, *step).status


@pytest.mark.parametrize(
    ("source", "step", "code"),
    [
        (GATEWAY, READ, "unknown_edge"),
        (OPERATIONS, BUY, "unknown_edge"),
        (STRANGER, READ, "unknown_principal"),
        (STRANGER, BUY, "unknown_principal"),
    ],
    ids=["the gateway reads reports", "operations order", "a stranger reads reports", "a stranger orders"],
)
def test_a_principal_is_refused_where_it_never_calls(source: Identity, step: Step, code: str, small_mesh: SmallMesh) -> None:
    reply = small_mesh.call(source, *step)
    decision = small_mesh.decision(reply)
    assert (403, code, source.principal) == (
        reply.status,
        decision["findings"][0]["code"],
        f"spiffe://{decision['caller']}",
    )
    assert ["shop/front", f"{step.method} {step.path}", 1] == [
        decision["workload"],
        decision["endpoint"],
        len(decision["findings"]),
    ]
