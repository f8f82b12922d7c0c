"""A certificate authority of a few minutes, and a server's certificate of it for 127.0.0.1."""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

LIFE = timedelta(days=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """Files: what clients trust, and what the server shows."""

    bundle: Path
    chain: Path
    key: Path


def make(directory: Path) -> Authority:
    """Write a new authority and a certificate of it into `directory`."""
    root, server = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    anchor = _certificate("bench CA", root.public_key(), "bench CA", root, is_authority=True)
    leaf = _certificate("127.0.0.1", server.public_key(), "bench CA", root, is_authority=False)
    made = Authority(bundle=directory / "ca.pem", chain=directory / "server.pem", key=directory / "server.key")
    made.bundle.write_bytes(anchor.public_bytes(serialization.Encoding.PEM))
    made.chain.write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    made.key.touch(mode=0o600)
    made.key.write_bytes(
        server.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return made


def _certificate(subject, public_key, issuer, signer, *, is_authority) -> x509.Certificate:
    now = datetime.now(UTC)
    address = x509.SubjectAlternativeName(
        [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    )
    return (
        x509.CertificateBuilder()
        .subject_name(_named(subject))
        .issuer_name(_named(issuer))
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + LIFE)
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .sign(signer, hashes.SHA256())
    )


def _named(name) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
