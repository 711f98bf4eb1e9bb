#!/usr/bin/env python3
"""Makes the certificates of this directory: for tests alone, valid from 2020 to 2120. Needs the package cryptography."""
import datetime
import ipaddress
import os

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HERE = os.path.dirname(os.path.abspath(__file__))


def certificate(name, names, issuer, issuer_key, until=2120):
    """A certificate and its key; its own authority if there is no issuer."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"kms test {name}")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime(2020, 1, 1))
        .not_valid_after(datetime.datetime(until, 1, 1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    made = builder.sign(issuer_key or key, hashes.SHA256())
    with open(os.path.join(HERE, f"{name}.pem"), "wb") as file:
        file.write(made.public_bytes(serialization.Encoding.PEM))
    return subject, key


def write_key(name, key):
    with open(os.path.join(HERE, f"{name}.key"), "wb") as file:
        file.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


LOCAL = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
AUTHORITY = certificate("authority", [], None, None)
for server, its_names, its_end in [("here", LOCAL, 2120), ("elsewhere", [x509.DNSName("elsewhere.example")], 2120), ("over", LOCAL, 2021)]:
    write_key(server, certificate(server, its_names, *AUTHORITY, its_end)[1])
