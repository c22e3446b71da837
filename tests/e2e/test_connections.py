"""Connections that aren't HTTP: Envoy's network filter asks with no HTTP attributes; the model answers, or else policy."""

from collections.abc import Callable
from pathlib import Path

from demo.identities import Identity
from tests.e2e.conftest import Services
from tests.e2e.parts import AuthzServer, eventually, policy
from tests.e2e.past import FRONT, STRANGER
from tests.e2e.small_mesh import SmallMesh, to_context
from tests.e2e.tcp_proxy import TcpProxy


def test_a_connection_without_http_passes_or_is_closed_as_the_policy_says(
    tmp_path: Path, make_server: Callable[..., AuthzServer], services: Services
) -> None:
    server = make_server("enforce")
    with TcpProxy(tmp_path, server.listen, services.http) as proxy:
        assert proxy.passes()
        assert {decision["basis"] for decision in eventually(server.decided)} == {"not_http"}

        policy(tmp_path / "enforcement.yaml", "enforce", non_http_allow=False)
        eventually(lambda: not server.get("/config").json["policy"]["defaults"]["non_http_allow"])
        assert not proxy.passes()
    assert server.metric("authz_decisions_total", reason="not_http", refused="true") == 1


def test_where_connections_were_learned_a_stranger_is_closed_out(small_mesh: SmallMesh) -> None:
    def connect(identity: Identity) -> bool:
        return small_mesh.database.passes(to_context(small_mesh.authority, identity))

    def decided(identity: Identity) -> list[tuple[str, str, bool]]:
        lines = [line for line in small_mesh.server.decided() if line["workload"] == "shop/database"]
        lines = [line for line in lines if f"spiffe://{line['caller']}" == identity.principal]
        return [(line["endpoint"], line["findings"][0]["code"] if line["findings"] else "", line["refused"]) for line in lines]

    endpoint = f"TCP /{small_mesh.database.port}"
    assert [True, False, True] == [connect(identity) for identity in (FRONT, STRANGER, FRONT)]
    assert [(endpoint, "", False)] * 2 == eventually(lambda: decided(FRONT)[1:] and decided(FRONT))
    assert [(endpoint, "unknown_principal", True)] == eventually(lambda: decided(STRANGER))
