"""Compare the members' states: equal revisions must have equal hashes, or a disk or a bug lied.

Now and then the leader hashes its own state at the present revision and asks every other member for
the same. Where revision and compact revision agree and the hash does not, it raises the alarm
CORRUPT for that member, through the log: from then on nobody reads or writes keys.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from typing import TYPE_CHECKING

from raftkv.errors import StoreError
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.peer.errors import PeerError
from raftkv.server.auth_stamp import CHECKED
from raftkv.server.command import CommandKind
from raftkv.storage.state_hash import hash_state

if TYPE_CHECKING:
    from raftkv.server.member import Member

__all__ = ["HASH", "HashCheck", "answer_peer", "decode_hash", "encode_revision"]

log = logging.getLogger(__name__)

HASH = "hash-kv"
"""Kind of request: a revision in; hash, compact revision and revision out."""

REQUEST_TIMEOUT_S = 30.0
POLL_S = 0.05
CATCH_UP_S = 5.0
"""How long a member that is asked may take to reach the revision."""

_REVISION = struct.Struct("<q")
_HASH = struct.Struct("<Iqq")


def encode_revision(revision: int) -> bytes:
    """Return the payload of a request."""
    return _REVISION.pack(revision)


def decode_hash(answer: bytes) -> tuple[int, int, int]:
    """Read an answer: hash, compact revision, revision. Raises ValueError."""
    if len(answer) != _HASH.size:
        raise ValueError(f"{len(answer)} bytes are no hash")
    value, compact_revision, revision = _HASH.unpack(answer)
    return value, compact_revision, revision


class HashCheck:
    """The comparisons of one member. Used from the loop only."""

    def __init__(self, member: Member, interval_s: float) -> None:
        """`interval_s` 0: never."""
        self.done_count = 0
        """Members that were compared and found equal."""
        self._member = member
        self._interval_s = interval_s
        self._next = asyncio.get_running_loop().time() + interval_s
        self._task: asyncio.Task[None] | None = None

    def tick(self, now: float) -> None:
        """Begin a comparison when one is due and this member leads."""
        if not self._interval_s or now < self._next:
            return
        self._next = now + self._interval_s
        if self._member.is_leader and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def close(self) -> None:
        """End what is under way."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        try:
            await self.compare()
        except StoreError as error:
            log.info("hashes were not compared", extra={"reason": error.text})
        finally:
            self._task = None

    async def compare(self) -> None:
        """Compare all members with this one now. Raises StoreError."""
        member = self._member
        await member.read_barrier()
        own = await hash_state(member.store, 0)
        for peer_id in sorted(member.node.configuration.members - {member.id}):
            try:
                answer = await member.transport.request(
                    peer_id, HASH, encode_revision(own[2]), REQUEST_TIMEOUT_S
                )
                theirs = decode_hash(answer)
            except (PeerError, ValueError) as error:
                log.info("no hash", extra={"peer": f"{peer_id:x}", "reason": str(error)})
                continue
            await self._judge(peer_id, own, theirs)

    async def _judge(
        self, peer_id: int, own: tuple[int, int, int], theirs: tuple[int, ...]
    ) -> None:
        """Raise the alarm where the hashes of one and the same history differ."""
        if own[1:] != theirs[1:]:
            return  # compacted meanwhile: nothing to compare
        if own[0] == theirs[0]:
            self.done_count += 1
            return
        log.critical(
            "the state of a member differs",
            extra={"peer": f"{peer_id:x}", "revision": own[2], "own": own[0], "theirs": theirs[0]},
        )
        request = pb.AlarmRequest(
            action=pb.AlarmRequest.ACTIVATE, memberID=peer_id, alarm=pb.CORRUPT
        )
        CHECKED.set(self._member.auth.stamp)  # no user asks for this, but the member itself
        await self._member.propose_and_wait(CommandKind.ALARM, request.SerializeToString())


async def answer_peer(member: Member, payload: bytes) -> bytes:
    """Return this member's hash at a revision, once it is there. Raises ValueError, StoreError."""
    if len(payload) != _REVISION.size:
        raise ValueError("a revision has 8 bytes")
    (revision,) = _REVISION.unpack(payload)
    async with asyncio.timeout(CATCH_UP_S):
        while True:
            if member.store.revision >= revision:
                break
            await asyncio.sleep(POLL_S)
    return _HASH.pack(*await hash_state(member.store, revision))
