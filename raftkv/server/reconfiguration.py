"""Changes of membership that clients ask for: judged and proposed at the leader, told when applied.

A member that does not lead sends the request on. The leader judges it by what it has applied, as
etcd does, and proposes it to Raft, which takes one change at a time. The answer comes when the
change is applied at the leader; where the leadership is lost before, the outcome may be unknown,
and the client is told so.
"""

import asyncio
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from raftkv.config import ReconfigurationRules
from raftkv.errors import ErrorCode, StoreError
from raftkv.peer.errors import OutcomeUnknown, PeerError
from raftkv.peer.transport import PeerTransport
from raftkv.raft.configuration import Configuration
from raftkv.raft.configuration_change import ChangeAction, ConfigurationChange, MemberChange
from raftkv.raft.errors import (
    ConfigurationChangePending,
    InvalidConfigurationChange,
    NotLeader,
    ProposalDropped,
)
from raftkv.raft.messages import Entry
from raftkv.raft.node import RaftNode
from raftkv.raft.roles import Role
from raftkv.server.membership import MemberRecord, Membership

__all__ = ["CHANGE", "ChangeRequest", "Reconfiguration", "are_peer_urls"]

CHANGE = "member-change"
"""Kind of request between members: an encoded `ChangeRequest` in, an error code out."""

RETRY_S = 0.05
READY_PERCENT = 90
"""How much of the leader's log a learner must hold to be promoted."""

_CODE = struct.Struct("<B")


@dataclass(frozen=True, slots=True)
class ChangeRequest:
    """What a client wants; `record` is given where a member is added or updated."""

    action: ChangeAction
    member_id: int
    record: MemberRecord | None = None

    def encode(self) -> bytes:
        """Return the request as it goes to the leader."""
        record = self.record.encode().decode() if self.record else None
        return json.dumps([int(self.action), self.member_id, record]).encode()

    @classmethod
    def decode(cls, data: bytes) -> "ChangeRequest":
        """Read what `encode` made. Raises ValueError for anything else."""
        try:
            action, member_id, record = json.loads(data)
            known = None if record is None else MemberRecord.decode(record.encode())
            return cls(ChangeAction(action), int(member_id), known)
        except (TypeError, AttributeError) as error:
            raise ValueError(f"no change of membership: {error}") from error


@dataclass(slots=True)
class _Waiting:
    term: int
    done: asyncio.Future[None]


class Reconfiguration:
    """The changes of one member's clients. Used from the loop only."""

    def __init__(
        self,
        node: RaftNode,
        membership: Membership,
        transport: PeerTransport,
        loop: asyncio.AbstractEventLoop,
        *,
        rules: ReconfigurationRules,
        timeout_s: float,
        wake: Callable[[], None],
    ) -> None:
        self._node = node
        self._membership = membership
        self._transport = transport
        self._loop = loop
        self._rules = rules
        self._timeout_s = timeout_s
        self._wake = wake
        self._waiting: dict[int, _Waiting] = {}
        """By index of the entry."""

    async def change(self, request: ChangeRequest) -> None:
        """Have the membership changed; returns when it is so at the leader. Raises StoreError."""
        deadline = self._loop.time() + self._timeout_s
        while True:
            left = deadline - self._loop.time()
            if left <= 0:
                raise StoreError(ErrorCode.TIMEOUT)
            leader = self._node.leader_id
            if self._node.role is Role.LEADER:
                if await self._propose(request, left):
                    return
            elif leader:
                code = await self._ask(leader, request, left)
                if not code:
                    return
                if code != ErrorCode.NOT_LEADER:
                    raise StoreError(code)
            await asyncio.sleep(RETRY_S)

    async def answer_peer(self, payload: bytes) -> bytes:
        """Do what another member's client asks. Raises ValueError for a malformed request."""
        request = ChangeRequest.decode(payload)
        deadline = self._loop.time() + self._timeout_s
        try:
            while self._node.role is Role.LEADER:
                if await self._propose(request, deadline - self._loop.time()):
                    return _CODE.pack(0)
                await asyncio.sleep(RETRY_S)
        except StoreError as error:
            return _CODE.pack(error.code)
        return _CODE.pack(ErrorCode.NOT_LEADER)

    async def _ask(self, leader: int, request: ChangeRequest, timeout_s: float) -> int:
        """Ask the leader; NOT_LEADER stands for anything that certainly changed nothing."""
        try:
            answer = await self._transport.request(leader, CHANGE, request.encode(), timeout_s)
        except OutcomeUnknown:
            raise StoreError(ErrorCode.TIMEOUT_DUE_TO_CONNECTION_LOST) from None
        except PeerError:
            return ErrorCode.NOT_LEADER
        return answer[0] if len(answer) == _CODE.size else ErrorCode.NOT_LEADER

    async def _propose(self, request: ChangeRequest, timeout_s: float) -> bool:
        """Judge and propose; False where it is to be tried again. Raises StoreError."""
        if timeout_s <= 0:
            raise StoreError(ErrorCode.TIMEOUT)
        self._judge(request)
        context = request.record.encode() if request.record else b""
        one = MemberChange(request.action, request.member_id)
        try:
            index = self._node.propose_configuration(ConfigurationChange((one,), context=context))
        except ConfigurationChangePending:
            return False
        except InvalidConfigurationChange:
            raise StoreError(ErrorCode.MEMBER_NOT_ENOUGH_STARTED) from None
        except (NotLeader, ProposalDropped):
            return False
        waiting = _Waiting(self._node.term, self._loop.create_future())
        self._waiting[index] = waiting
        self._wake()
        try:
            async with asyncio.timeout(timeout_s):
                await waiting.done
        except TimeoutError:
            raise StoreError(ErrorCode.TIMEOUT) from None
        finally:
            if self._waiting.get(index) is waiting:
                del self._waiting[index]
        return True

    # --- what is applied -----------------------------------------------------------------------

    def applied(self, entry: Entry) -> None:
        """Answer whoever waits for this entry; another one in its place means that it was lost."""
        waiting = self._waiting.get(entry.index)
        if waiting is None or waiting.done.done():
            return
        if waiting.term == entry.term:
            waiting.done.set_result(None)
        else:
            waiting.done.set_exception(StoreError(ErrorCode.LEADER_CHANGED))

    def settle(self, term: int) -> None:
        """Fail what was proposed in earlier terms, of which an entry is about to be applied."""
        for waiting in self._waiting.values():
            if waiting.term < term and not waiting.done.done():
                waiting.done.set_exception(StoreError(ErrorCode.LEADER_CHANGED))

    def abandon(self, code: ErrorCode) -> None:
        """Fail everything with an error that leaves the outcome open, or as the member stops."""
        for waiting in self._waiting.values():
            if not waiting.done.done():
                waiting.done.set_exception(StoreError(code))

    # --- judgement -----------------------------------------------------------------------------

    def _judge(self, request: ChangeRequest) -> None:
        """Raise StoreError where etcd would refuse."""
        match request.action:
            case ChangeAction.ADD_VOTER | ChangeAction.ADD_LEARNER:
                self._judge_addition(request)
            case ChangeAction.REMOVE:
                self._judge_removal(self._known(request.member_id))
            case ChangeAction.PROMOTE:
                self._judge_promotion(self._known(request.member_id))
            case ChangeAction.UPDATE:
                self._known(request.member_id)
                self._judge_urls(request)

    def _known(self, member_id: int) -> MemberRecord:
        record = self._membership.get(member_id)
        if record is None:
            raise StoreError(ErrorCode.MEMBER_NOT_FOUND)
        return record

    def _judge_urls(self, request: ChangeRequest) -> None:
        assert request.record is not None
        wanted = set(request.record.peer_urls)
        for record in self._membership.list():
            if record.id != request.member_id and wanted & set(record.peer_urls):
                raise StoreError(ErrorCode.PEER_URL_EXIST)

    def _judge_addition(self, request: ChangeRequest) -> None:
        member_id = request.member_id
        if member_id in self._membership or self._membership.was_removed(member_id):
            raise StoreError(ErrorCode.MEMBER_EXIST)
        self._judge_urls(request)
        configuration = self._node.configuration
        if request.action is ChangeAction.ADD_LEARNER:
            if len(configuration.learners) >= self._rules.learners_max:
                raise StoreError(ErrorCode.TOO_MANY_LEARNERS)
        elif self._rules.strict:
            self._judge_quorum(configuration, len(configuration.voters) + 1)
            if not self._reaches(configuration.voters):
                raise StoreError(ErrorCode.UNHEALTHY)

    def _judge_removal(self, record: MemberRecord) -> None:
        configuration = self._node.configuration
        rest = configuration.voters - {record.id}
        if not rest:
            raise StoreError(ErrorCode.MEMBER_NOT_ENOUGH_STARTED)
        if not self._rules.strict or record.id in configuration.learners:
            return
        started = sum(bool(self._membership[one].name) for one in rest if one in self._membership)
        if started < len(rest) // 2 + 1:
            raise StoreError(ErrorCode.MEMBER_NOT_ENOUGH_STARTED)
        if sum(self._reaches({one}) for one in rest) < len(rest) // 2 + 1:
            raise StoreError(ErrorCode.UNHEALTHY)

    def _judge_promotion(self, record: MemberRecord) -> None:
        status = self._node.status()
        if record.id not in status.configuration.learners:
            raise StoreError(ErrorCode.MEMBER_NOT_LEARNER)
        follower = status.followers.get(record.id)
        if follower is None or follower.match_index * 100 < status.last_index * READY_PERCENT:
            raise StoreError(ErrorCode.LEARNER_NOT_READY)
        if self._rules.strict:
            self._judge_quorum(status.configuration, len(status.configuration.voters) + 1, record)

    def _judge_quorum(
        self, configuration: Configuration, size: int, also: MemberRecord | None = None
    ) -> None:
        """Refuse where the voters that have ever run would be no quorum of `size`.

        A lone member may grow to two.
        """
        voters = [self._membership[one] for one in configuration.voters if one in self._membership]
        started = sum(bool(record.name) for record in [*voters, *([also] if also else [])])
        if (started, size) != (1, 2) and started < size // 2 + 1:
            raise StoreError(ErrorCode.MEMBER_NOT_ENOUGH_STARTED)

    def _reaches(self, members: frozenset[int] | set[int]) -> bool:
        """Say whether all of them are this member or connected to it."""
        return all(one == self._node.id or self._transport.is_connected(one) for one in members)


def are_peer_urls(urls: list[str]) -> bool:
    """Say whether these can be the peer URLs of a member."""
    for url in urls:
        try:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.port is None:
                return False
        except ValueError:
            return False
        if parts.path not in ("", "/"):
            return False
    return bool(urls) and len(set(urls)) == len(urls)
