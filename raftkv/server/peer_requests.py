"""Requests of other members: who answers which."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from raftkv.server import hash_check, reconfiguration, snapshot_protocol
from raftkv.server.snapshot_protocol import SnapshotProtocolError
from raftkv.server.snapshot_receiver import SnapshotReceiver

if TYPE_CHECKING:
    from raftkv.server.member import Member

__all__ = ["PeerRequests"]

INSTALL_POLL_S = 0.02


class PeerRequests:
    """Answers what other members ask of this one. Used from the loop only."""

    def __init__(self, member: Member, received: SnapshotReceiver) -> None:
        self._member = member
        self._received = received

    async def answer(self, sender: int, kind: str, payload: bytes) -> bytes:
        """Answer one request. Raises ValueError for an unknown or malformed one."""
        match kind:
            case snapshot_protocol.CHUNK:
                return await self._received.write(sender, payload)
            case snapshot_protocol.BEGIN:
                return await self._received.begin(sender)
            case snapshot_protocol.INSTALL:
                return await self._install(sender, payload)
            case reconfiguration.CHANGE:
                return await self._member.changes.answer_peer(payload)
            case "probe":  # how long it takes is what is asked
                return b""
            case hash_check.HASH:
                return await hash_check.answer_peer(self._member, payload)
            case _:
                return await self._member.leases.answer_peer(kind, payload)

    async def _install(self, sender: int, payload: bytes) -> bytes:
        """Have the received state installed, and answer when it is the member's own."""
        node = self._member.node
        message = snapshot_protocol.decode_install(sender, self._member.id, payload)
        assert message.snapshot is not None
        index = message.snapshot.index
        if node.applied_index < index and not self._received.reserve(index, message.snapshot.term):
            raise SnapshotProtocolError("that snapshot was not received completely")
        self._member.take_snapshot(message)
        if node.commit_index < index:
            self._received.release()
            raise SnapshotProtocolError("that snapshot is of no use here")
        async with asyncio.timeout(self._member.config.request_timeout_s):
            while True:
                if node.applied_index >= index:
                    self._received.release()  # unless it was installed: the log had all of it
                    return b""
                await asyncio.sleep(INSTALL_POLL_S)
