"""An authority made for the tests, and what it vouches for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet import ssl

_DAY = timedelta(days=1)


class Authority:
    """`path` is its certificate, for those who are to trust it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("An authority")
        made = _builder(self._name, self._name, self._key, 0)
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        pem = made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        self.path = folder / "authority.pem"
        self.path.write_bytes(pem)
        self.certificate = ssl.Certificate.loadPEM(pem)

    def vouch(self, hosts: Sequence[str], days_ago: int = 0) -> Any:
        """What a server that is all of `hosts` listens with; its certificate has ended `days_ago`, if that is not 0."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [_alternative(host) for host in hosts]
        made = _builder(_name(hosts[0]), self._name, key, days_ago)
        signed = made.add_extension(x509.SubjectAlternativeName(names), critical=False).sign(self._key, hashes.SHA256())
        pem = serialization.Encoding.PEM
        plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        path = self._folder / f"{hosts[0]}.{days_ago}.pem"
        path.write_bytes(key.private_bytes(pem, *plain) + signed.public_bytes(pem))
        return ssl.DefaultOpenSSLContextFactory(str(path), str(path))


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(subject: x509.Name, issuer: x509.Name, key: Any, days_ago: int) -> x509.CertificateBuilder:
    end = datetime.now(timezone.utc) + (-days_ago * _DAY if days_ago else _DAY)
    serial = x509.random_serial_number()
    return x509.CertificateBuilder(issuer, subject, key.public_key(), serial, end - 9 * _DAY, end)
