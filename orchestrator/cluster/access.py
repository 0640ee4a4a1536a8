"""How each component of a local cluster reaches the API server: its own certificate, one CA."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator.client.config import ClientConfig
from orchestrator.cluster.record import ClusterRecord
from orchestrator.pki import KeyPair, Pki


@dataclass(frozen=True, slots=True)
class ServerAccess:
    """The address of the API server and the authority that vouches for it and its clients."""

    url: str
    pki: Pki

    def client_config(self, pair: KeyPair, component: str) -> ClientConfig:
        """Give the configuration of one component's client."""
        return ClientConfig(
            server=self.url,
            ca_pem=self.pki.ca_pem,
            client_cert_pem=pair.certificate,
            client_key_pem=pair.key,
            user_agent=component,
        )


def admin_access(data_dir: Path, record: ClusterRecord, component: str) -> ClientConfig:
    """Give an administrator's way into the cluster of this directory.

    It needs no kubeconfig: those may have come to name another cluster.
    """
    pki = Pki(data_dir / "apiserver" / "pki")
    return ServerAccess(record.server, pki).client_config(pki.admin(), component)
