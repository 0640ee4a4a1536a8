"""What can go wrong between two members."""

from __future__ import annotations


class PeerError(Exception):
    """The base of everything that the transport raises on purpose."""


class FrameError(PeerError):
    """Bytes that are no frame of our protocol; the connection they came on is closed."""


class HandshakeError(PeerError):
    """The other side is not the member that it should be, or speaks another version."""


class PeerUnavailable(PeerError):
    """Nothing was sent: no connection, or too much waits already. Safe to try again."""

    def __init__(self, peer_id: int, reason: str) -> None:
        super().__init__(f"member {peer_id:x} is unavailable: {reason}")
        self.peer_id = peer_id


class OutcomeUnknown(PeerError):
    """A request was sent and no answer came; it may or may not have been carried out."""

    def __init__(self, peer_id: int, reason: str) -> None:
        super().__init__(f"no answer from member {peer_id:x}: {reason}")
        self.peer_id = peer_id


class RequestRefused(PeerError):
    """The other member answered a request with an error, whose text is `reason`."""

    def __init__(self, peer_id: int, reason: str) -> None:
        super().__init__(f"member {peer_id:x} refused: {reason}")
        self.peer_id = peer_id
        self.reason = reason
