"""The TLS contexts of the peer port, in both directions."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime

from raftkv.config import Config
from raftkv.tls.context import client_context, server_context
from raftkv.tls.self_signed import with_self_signed

__all__ = ["PeerContexts", "peer_contexts"]


@dataclass(frozen=True, slots=True)
class PeerContexts:
    """None where plain text is spoken."""

    listening: ssl.SSLContext | None = None
    dialling: ssl.SSLContext | None = None


def peer_contexts(config: Config) -> PeerContexts:
    """Make what the flags say. Raises TlsError.

    Members may be reached by http and https side by side, so that a cluster can change over one
    member at a time.
    """
    settings = config.peer_tls
    urls = [url for of_member in config.cluster.members.values() for url in of_member]
    secure = [one for one in (config.listen_peer, *config.listen_peer_too) if one.is_tls]
    if settings.needs_self_signed and secure:
        directory = config.data_dir / "fixtures" / "peer"
        hosts = [*(one.host for one in secure), "localhost"]
        settings = with_self_signed(settings, directory, hosts, datetime.now(UTC))
    dials = any(url.startswith("https://") for url in urls) or bool(settings.files)
    return PeerContexts(
        server_context(settings) if secure else None,
        client_context(settings) if dials else None,
    )
