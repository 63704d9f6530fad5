"""Certificates for tests, by openssl."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from integration.peers import need


@dataclass
class Authority:
    """Signs certificates in a folder."""

    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self._openssl(
            "req", "-x509", *self._key("ca"), "-subj", "/CN=Test CA", "-days", "2", "-out", self.of("ca")
        )

    def of(self, name: str) -> Path:
        return self.folder / f"{name}.pem"

    def key(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    def sign(self, name: str, san: str = "") -> Path:
        """A certificate; ``san`` such as ``IP:127.0.0.1``."""
        request = self.folder / f"{name}.csr"
        self._openssl("req", *self._key(name), "-subj", f"/CN={name}", "-out", request)
        by = ("-CA", self.of("ca"), "-CAkey", self.key("ca"), "-CAcreateserial", "-days", "2")
        extensions: tuple[str | Path, ...] = ()
        if san:
            extensions = ("-extfile", self.folder / f"{name}.ext")
            (self.folder / f"{name}.ext").write_text(f"subjectAltName={san}")
        self._openssl("x509", "-req", "-in", request, *by, *extensions, "-out", self.of(name))
        return self.of(name)

    def _key(self, name: str) -> tuple[str | Path, ...]:
        return ("-newkey", "rsa:2048", "-nodes", "-keyout", self.key(name))

    def _openssl(self, *arguments: str | Path) -> None:
        subprocess.run([need("openssl"), *map(str, arguments)], check=True, capture_output=True)
