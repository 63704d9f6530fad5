"""TLS: 1.2 and later, mutual, with the cipher suites of PS3.15 B.12 (BCP 195).

Certificates are read when a role starts, so a SIGHUP takes new ones; a file that can't be used is a ConfigError, and
then nothing changes.
"""

import hashlib
import ssl
from collections.abc import Mapping
from pathlib import Path

from venturi.config.schema import Peer, Tls
from venturi.errors import ConfigError

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secrecy and authenticated encryption, by elliptic curves; those of 1.3 all have both."""


def acceptor(tls: Tls) -> ssl.SSLContext:
    """For who is called. Raises ConfigError."""
    made = _context(tls, ssl.PROTOCOL_TLS_SERVER)
    made.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    return made


def requestor(tls: Tls, *, by_name: bool) -> ssl.SSLContext:
    """For who calls; ``by_name``: the peer's certificate must be for the host that is called. Raises ConfigError."""
    made = _context(tls, ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = by_name
    return made


def _context(tls: Tls, protocol: int) -> ssl.SSLContext:
    """Read the node's certificate and key, and who signs its peers'. Raises ConfigError."""
    made = ssl.SSLContext(protocol)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_ciphers(CIPHERS)
    made.options |= ssl.OP_NO_RENEGOTIATION
    made.verify_mode = ssl.CERT_REQUIRED
    try:
        made.load_cert_chain(tls.certificate, tls.key, password=_no_password)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        raise ConfigError([f"node.tls: {tls.certificate} and {tls.key}: {_words(error)}"]) from error
    try:
        made.load_verify_locations(tls.ca)
    except (OSError, ValueError) as error:
        raise ConfigError([f"node.tls: {tls.ca}: {_words(error)}"]) from error
    return made


def fingerprint(certificate: bytes) -> str:
    """SHA-256 of a certificate (DER), by which a peer is bound to it."""
    return hashlib.sha256(certificate).hexdigest()


def bound(peers: Mapping[str, Peer]) -> dict[str, str]:
    """Read the fingerprints of the certificates that peers must show, by the peer's name. Raises ConfigError."""
    found = {}
    for name, peer in peers.items():
        if peer.certificate is not None:
            found[name] = _fingerprint_of(name, peer.certificate)
    return found


def _fingerprint_of(name: str, path: Path) -> str:
    try:
        return fingerprint(ssl.PEM_cert_to_DER_cert(path.read_text(encoding="ascii")))
    except (OSError, ValueError) as error:
        raise ConfigError([f"peers.{name}.certificate: {path}: {_words(error)}"]) from error


def _no_password() -> str:
    raise ValueError("the key has a password, which nobody is there to type: store it without one, mode 0600")


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "no certificate or key in PEM").replace("_", " ").lower()
    return getattr(error, "strerror", None) or str(error)
