"""The mesh's certificate authority: in goes an identity, out come PEM files whose URI SAN is that identity's principal.

Rule that lives here only: the trust domain, and that every certificate is made on the spot and valid for one day.
"""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TRUST_DOMAIN = "demo.local"
VALID_FOR = datetime.timedelta(days=1)
CLOCK_SKEW = datetime.timedelta(minutes=5)
_CA_USAGE = x509.KeyUsage(
    key_cert_sign=True,
    crl_sign=True,
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)


@dataclass(frozen=True, slots=True)
class Identity:
    """A service account.

    >>> Identity("shop", "audit").principal
    'spiffe://demo.local/ns/shop/sa/audit'
    """

    namespace: str
    name: str

    @property
    def principal(self) -> str:
        """The SPIFFE id that Envoy hands on as `source.principal` (SPIFFE-ID standard, section 2)."""
        return f"spiffe://{TRUST_DOMAIN}/ns/{self.namespace}/sa/{self.name}"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What one end of a mutual TLS connection needs, as PEM files: its certificate, its key, the CA it trusts."""

    certificate: Path
    key: Path
    ca: Path


class Authority:
    """A certificate authority of its own; its key stays in memory and ends with the process."""

    def __init__(self, directory: Path) -> None:
        """Make the CA and write its certificate to `directory`/ca.pem."""
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{TRUST_DOMAIN} mesh CA")])
        certificate = (
            _builder(self._name, self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_CA_USAGE, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.ca = directory / "ca.pem"
        self.ca.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(
        self, identity: Identity, dns: Sequence[str] = ("localhost",), addresses: Sequence[str] = ("127.0.0.1",)
    ) -> TlsFiles:
        """Write a certificate and key for `identity`, good for both ends of a connection.

        `dns` and `addresses` are further SANs, for peers that check a host name (grpcio does, Envoy checks the URI).
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity.name)])
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(identity.principal)]
        names += [x509.DNSName(name) for name in dns]
        names += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        certificate = (
            _builder(subject, self._name, key.public_key())
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        stem = f"{identity.namespace}.{identity.name}"
        files = TlsFiles(self._directory / f"{stem}.pem", self._directory / f"{stem}.key", self.ca)
        files.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files.key.touch(mode=0o600)
        files.key.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        return files


def _builder(subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + VALID_FOR)
    )
