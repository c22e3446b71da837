"""How Envoy reaches the server: a Unix socket, TLS, mutual TLS, and certificates that are renewed while it runs."""

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final

import grpc
import pytest
from cryptography import x509

from demo.identities import Authority, Identity, TlsFiles
from tests.e2e.parts import AuthzServer, Proxy, check_request
from tests.e2e.traffic import ODD, browse

SERVER: Final = Identity("mesh", "authz")
ENVOY: Final = Identity("shop", "shop")


def tls_settings(files: TlsFiles, client_ca: Path | None = None) -> dict[str, object]:
    return {"tls_cert": files.certificate, "tls_key": files.key, "tls_client_ca": client_ca}


def client_credentials(ca: Path, files: TlsFiles | None = None) -> grpc.ChannelCredentials:
    if files is None:
        return grpc.ssl_channel_credentials(ca.read_bytes())
    return grpc.ssl_channel_credentials(ca.read_bytes(), files.key.read_bytes(), files.certificate.read_bytes())


def serial_number(address: str) -> int:
    """Shake hands as a new client; tell which certificate the server showed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5) as raw, context.wrap_socket(raw) as shaken:
        shown = shaken.getpeercert(binary_form=True)
    assert shown is not None
    return x509.load_der_x509_certificate(shown).serial_number


def test_envoy_asks_over_a_unix_socket(
    tmp_path: Path, make_server: Callable[..., AuthzServer], make_proxy: Callable[..., Proxy]
) -> None:
    path = f"unix:{tmp_path}/authz.sock"
    make_server(settings={"listen": path})
    proxy = make_proxy(path)
    assert [proxy.take(step).status for step in (browse(), ODD)] == [200, 403]


def test_a_socket_that_a_killed_server_left_behind_is_taken_over(tmp_path: Path, make_server: Callable[..., AuthzServer]) -> None:
    server = make_server(settings={"listen": f"unix:{tmp_path}/authz.sock"})
    server.process.kill()
    assert (tmp_path / "authz.sock").is_socket()
    server.start()
    with server.stub() as stub:
        assert stub.Check(check_request(), timeout=5).status.code == 0


def test_envoy_asks_over_mutual_tls(
    authority: Authority, make_server: Callable[..., AuthzServer], make_proxy: Callable[..., Proxy]
) -> None:
    server = make_server(settings=tls_settings(authority.issue(SERVER), authority.ca))
    proxy = make_proxy(server.listen, tls=authority.issue(ENVOY), server=SERVER)
    assert [proxy.take(step).status for step in (browse(), ODD)] == [200, 403]


def test_with_mutual_tls_only_clients_of_our_authority_are_answered(
    tmp_path: Path, authority: Authority, make_server: Callable[..., AuthzServer]
) -> None:
    server = make_server(settings=tls_settings(authority.issue(SERVER), authority.ca))
    stranger = Authority(tmp_path / "stranger").issue(ENVOY)
    with server.stub(client_credentials(authority.ca, authority.issue(ENVOY))) as stub:
        assert stub.Check(check_request(), timeout=5).status.code == 0
    refused = [client_credentials(authority.ca), client_credentials(authority.ca, stranger), None]
    for credentials in refused:
        with server.stub(credentials) as stub, pytest.raises(grpc.RpcError) as error:
            stub.Check(check_request(), timeout=5)
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    assert server.metric("authz_decisions_total") == 1


def test_with_tls_alone_a_client_needs_no_certificate_and_plaintext_is_refused(
    authority: Authority, make_server: Callable[..., AuthzServer]
) -> None:
    server = make_server(settings=tls_settings(authority.issue(SERVER)))
    with server.stub(client_credentials(authority.ca)) as stub:
        assert stub.Check(check_request(), timeout=5).status.code == 0
    with server.stub() as stub, pytest.raises(grpc.RpcError) as error:
        stub.Check(check_request(), timeout=5)
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_renewed_certificate_is_shown_without_a_restart(
    tmp_path: Path, make_server: Callable[..., AuthzServer], make_proxy: Callable[..., Proxy]
) -> None:
    authority = Authority(tmp_path / "certificates")
    files = authority.issue(SERVER)
    server = make_server(settings=tls_settings(files, authority.ca))
    before = serial_number(server.listen)
    assert before == x509.load_pem_x509_certificate(files.certificate.read_bytes()).serial_number

    files.certificate.write_text("half a certif")
    assert serial_number(server.listen) == before

    renewed = x509.load_pem_x509_certificate(authority.issue(SERVER).certificate.read_bytes()).serial_number
    assert serial_number(server.listen) == renewed != before
    proxy = make_proxy(server.listen, tls=authority.issue(ENVOY), server=SERVER)
    assert [proxy.take(step).status for step in (browse(), ODD)] == [200, 403]


def test_workload_and_caller_are_what_their_certificates_say(
    enforcing: AuthzServer, authority: Authority, make_proxy: Callable[..., Proxy], authz_address: str
) -> None:
    caller = authority.issue(Identity("web", "front"))
    proxy = make_proxy(authz_address, inbound=authority.issue(Identity("shop", "till")), workload="somebody/else")
    context = ssl.create_default_context(cafile=str(authority.ca))
    context.load_cert_chain(caller.certificate, caller.key)
    with proxy.client(context) as client:
        reply = client.take(browse())
    line = proxy.logged(reply.request_id)
    decision = enforcing.decision(line["decision_id"])
    assert (reply.status, line["caller"]) == (200, "spiffe://demo.local/ns/web/sa/front")
    assert (decision["workload"], decision["caller"], decision["basis"]) == (
        "shop/till",
        "demo.local/ns/web/sa/front",
        "no_model",
    )
