"""A certificate authority of the site's own, and servers' certificates, good and bad ones."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet.ssl import CertificateOptions, PrivateCertificate

_DAY = timedelta(days=1)


class Authority:
    """Its certificate is in `path`, for SSL_CERT_FILE."""

    def __init__(self, folder: Path) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("The site's authority")
        mine = self._key.public_key()
        made = (
            self._begun(self._name, mine, self._name)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.path = folder / "authority.pem"
        self.path.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def options(self, address: str, *, expired: bool = False, trusted: bool = True) -> CertificateOptions:
        """What a server at `address` shows; not `trusted`: signed by itself."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(address)
        before = timedelta(days=30) if expired else timedelta()
        made = (
            self._begun(name, key.public_key(), self._name if trusted else name, before)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address(address))]), critical=False)
            .sign(self._key if trusted else key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        return PrivateCertificate.loadPEM(key.private_bytes(pem, *plain) + made.public_bytes(pem)).options()

    @staticmethod
    def _begun(
        name: x509.Name, key: ec.EllipticCurvePublicKey, issuer: x509.Name, before: timedelta = timedelta()
    ) -> x509.CertificateBuilder:
        now = datetime.now(timezone.utc) - before
        return x509.CertificateBuilder(issuer, name, key, x509.random_serial_number(), now - _DAY, now + _DAY)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
