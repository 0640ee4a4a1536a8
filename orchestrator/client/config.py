"""Where the API server is and who we are to it."""

import base64
import os
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from orchestrator.client.errors import KubeconfigError


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """The address and the credentials of one client; PEM as bytes, so that no path outlives it."""

    server: str
    """URL without a trailing slash, such as `https://127.0.0.1:6443`."""
    ca_pem: bytes | None = None
    """Authorities to trust; None trusts the system's."""
    client_cert_pem: bytes | None = None
    client_key_pem: bytes | None = None
    token: str | None = None
    """Bearer token, sent when there is no client certificate."""
    user_agent: str = "orchestrator"

    @classmethod
    def from_files(cls, server: str, ca: Path, cert: Path, key: Path, **rest: Any) -> Self:
        """Read the three PEM files; raises OSError where one cannot be read."""
        return cls(
            server=server.rstrip("/"),
            ca_pem=ca.read_bytes(),
            client_cert_pem=cert.read_bytes(),
            client_key_pem=key.read_bytes(),
            **rest,
        )

    @classmethod
    def from_kubeconfig(
        cls, path: Path | str, context: str | None = None, user_agent: str = "orchestrator"
    ) -> Self:
        """Read a kubeconfig's context (the current one by default).

        Certificates and keys may be embedded or named by path, relative to the file.
        Raises KubeconfigError for missing names and for exec and auth-provider users.
        """
        import yaml  # only users of kubeconfigs pay for the import

        path = Path(path)
        document = yaml.safe_load(path.read_text())
        if not isinstance(document, dict):
            raise KubeconfigError(f"{path} is not a kubeconfig")
        name = context or document.get("current-context")
        if not name:
            raise KubeconfigError(f"{path} has no current-context")
        chosen = _named(document, "contexts", "context", name, path)
        cluster = _named(document, "clusters", "cluster", chosen.get("cluster", ""), path)
        user = _named(document, "users", "user", chosen["user"], path) if "user" in chosen else {}
        for unsupported in ("exec", "auth-provider", "username"):
            if unsupported in user:
                raise KubeconfigError(f"{path}: users with {unsupported!r} are not supported")
        return cls(
            server=str(cluster["server"]).rstrip("/"),
            ca_pem=_pem(cluster, "certificate-authority", path),
            client_cert_pem=_pem(user, "client-certificate", path),
            client_key_pem=_pem(user, "client-key", path),
            token=user.get("token"),
            user_agent=user_agent,
        )

    def ssl_context(self) -> ssl.SSLContext | None:
        """Build the TLS context, or None for a plain http server."""
        if not self.server.startswith("https:"):
            return None
        if self.ca_pem is None:
            context = ssl.create_default_context()
        else:
            context = ssl.create_default_context(cadata=self.ca_pem.decode())
        if self.client_cert_pem is not None and self.client_key_pem is not None:
            _load_cert_chain(context, self.client_cert_pem, self.client_key_pem)
        return context


def _named(document: Any, section: str, field: str, name: str, path: Path) -> Any:
    for entry in document.get(section) or []:
        if entry.get("name") == name:
            return entry.get(field) or {}
    raise KubeconfigError(f"{path} has no {field} named {name!r}")


def _pem(entry: Any, field: str, path: Path) -> bytes | None:
    """Embedded data wins over a file, as in kubectl."""
    if data := entry.get(f"{field}-data"):
        return base64.b64decode(str(data))
    if file := entry.get(field):
        return (path.parent / str(file)).read_bytes()
    return None


def _load_cert_chain(context: ssl.SSLContext, cert_pem: bytes, key_pem: bytes) -> None:
    """OpenSSL's binding reads certificate chains from files only: lend it one for a moment."""
    descriptor, name = tempfile.mkstemp(prefix="orchestrator-client-", suffix=".pem")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(cert_pem.rstrip() + b"\n" + key_pem)
        context.load_cert_chain(name)
    finally:
        os.unlink(name)
