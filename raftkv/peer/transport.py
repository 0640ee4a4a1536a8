"""The transport between members: one outgoing connection per peer, one listener."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence

from raftkv.raft.messages import Message

Address = tuple[str, int]


class PeerTransport:
    """Skeleton of the interface."""

    def __init__(
        self,
        member_id: int,
        cluster_id: int,
        listen_address: Address,
        peers: Mapping[int, Address],
        *,
        on_messages: Callable[[list[Message]], None],
        on_forward: Callable[[int, bytes], None],
        on_request: Callable[[int, str, bytes], Awaitable[bytes]],
        on_unreachable: Callable[[int], None],
        server_ssl: ssl.SSLContext | None = None,
        client_ssl: ssl.SSLContext | None = None,
    ) -> None: ...

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    @property
    def port(self) -> int:
        raise NotImplementedError

    def send(self, messages: Sequence[Message]) -> None: ...

    def forward(self, peer_id: int, batch: bytes) -> bool:
        """Send one way; False if it certainly was not sent."""
        raise NotImplementedError

    async def request(self, peer_id: int, kind: str, payload: bytes, timeout_s: float) -> bytes:
        """Raises PeerUnavailable (not sent), OutcomeUnknown (lost or timed out), RequestRefused."""
        raise NotImplementedError

    def is_connected(self, peer_id: int) -> bool:
        raise NotImplementedError
