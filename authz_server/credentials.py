"""TLS for the gRPC server, from files that may be renewed while it runs (cert-manager and Istio renew every day or hour)."""

import ssl
from pathlib import Path

import grpc

from authz_server.engine.errors import SettingError, cut
from authz_server.settings import Settings

__all__ = ["server_credentials"]


def server_credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """Make credentials of the settings' files, re-read when they changed; None for plaintext. Raises SettingError."""
    cert, key, client_ca = settings.tls_cert, settings.tls_key, settings.tls_client_ca
    if cert is None or key is None:
        return None
    try:
        seen = _stamp(cert, key, client_ca)
        initial = _configuration(cert, key, client_ca)
        _verify(cert, key, client_ca)
    except (OSError, ValueError) as error:
        raise SettingError(
            "tls_cert, tls_key, tls_client_ca: expected readable PEM files, a certificate and its own unencrypted key:"
            f" {cut(error)}"
        ) from error

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        """Asked at every handshake; None keeps what is in force, also when new files are unreadable."""
        nonlocal seen
        try:
            now = _stamp(cert, key, client_ca)
            if now == seen:
                return None
            configuration = _configuration(cert, key, client_ca)
        except (OSError, ValueError):
            return None
        seen = now
        return configuration

    return grpc.dynamic_ssl_server_credentials(initial, renewed, require_client_authentication=client_ca is not None)


def _verify(cert: Path, key: Path, client_ca: Path | None) -> None:
    """Read the files as TLS will, since gRPC takes anything and fails at each handshake; raises ssl.SSLError, an OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key, password=lambda: b"")  # never ask on a terminal
    if client_ca is not None:
        context.load_verify_locations(client_ca)


def _stamp(*paths: Path | None) -> tuple[tuple[int, int], ...]:
    return tuple([(path.stat().st_mtime_ns, path.stat().st_ino) for path in paths if path is not None])


def _configuration(cert: Path, key: Path, client_ca: Path | None) -> grpc.ServerCertificateConfiguration:
    roots = client_ca.read_bytes() if client_ca is not None else None
    return grpc.ssl_server_certificate_configuration([(key.read_bytes(), cert.read_bytes())], root_certificates=roots)
