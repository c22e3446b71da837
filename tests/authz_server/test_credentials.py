from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from authz_server.credentials import server_credentials
from authz_server.engine.errors import SettingError
from authz_server.settings import Settings
from demo.identities import Authority, Identity, TlsFiles


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    return Authority(tmp_path).issue(Identity("shop", "cart"))


def test_a_certificate_with_its_key_and_authority_is_taken(files: TlsFiles) -> None:
    settings = Settings(tls_cert=files.certificate, tls_key=files.key, tls_client_ca=files.ca)

    assert server_credentials(settings) is not None


def test_without_certificate_it_is_plaintext() -> None:
    assert server_credentials(Settings()) is None


def test_a_key_of_another_certificate_is_refused(tmp_path: Path, files: TlsFiles) -> None:
    other = Authority(tmp_path / "other").issue(Identity("shop", "pay"))

    with pytest.raises(SettingError, match="a certificate and its own unencrypted key"):
        server_credentials(Settings(tls_cert=files.certificate, tls_key=other.key))


def test_an_encrypted_key_is_refused_without_asking_for_its_password(tmp_path: Path, files: TlsFiles) -> None:
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    secret = serialization.BestAvailableEncryption(b"secret")
    (tmp_path / "encrypted").write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret))

    with pytest.raises(SettingError, match="unencrypted key"):
        server_credentials(Settings(tls_cert=files.certificate, tls_key=tmp_path / "encrypted"))


def test_an_authority_that_is_none_is_refused(tmp_path: Path, files: TlsFiles) -> None:
    (tmp_path / "none").write_text("no certificate")

    with pytest.raises(SettingError, match="expected readable PEM files"):
        server_credentials(Settings(tls_cert=files.certificate, tls_key=files.key, tls_client_ca=tmp_path / "none"))
