"""etcdserverpb.KV: the hot path. Requests and responses stay bytes; one append a request."""

from typing import cast

from google.protobuf.message import DecodeError

from raftkv._native.http2 import MethodTable, Stream
from raftkv._native.mvcc_store import MvccStore
from raftkv._native.put_path import PutPath
from raftkv._native.range_path import RangePath
from raftkv._native.waiter import Waiter
from raftkv.errors import ERRORS, ErrorCode, StoreIOError
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.rpc.auth_judged import is_judged
from raftkv.rpc.large_range import LargeRanges
from raftkv.rpc.require_leader import lacks_leader
from raftkv.rpc.turn_budget import TurnBudget
from raftkv.server.command import CommandKind
from raftkv.server.member import Member
from raftkv.server.reads import READS_MAX, Serve

__all__ = ["KvService"]

SERIALIZABLE_SET = b"\x38\x01"
"""RangeRequest.serializable = true on the wire; in any other place only by chance."""

GROWING = frozenset({CommandKind.PUT, CommandKind.TXN})
"""What may be refused at the quota; deletion and compaction, which make room, are not."""


class KvService:
    """Checks requests, proposes writes, serves reads from the member's store."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._store = member.store
        store = member.store
        self._turn = TurnBudget()
        self._large_ranges = LargeRanges(store) if isinstance(store, MvccStore) else None
        self._bytes_max = member.config.request_bytes_max
        self.delete_count = self.txn_count = self._slow_put_count = self._slow_range_count = 0
        self._put_path: PutPath | None = None
        self._range_path: RangePath | None = None
        """How most requests go; not with the plain store."""
        if isinstance(store, MvccStore):
            self._put_path = PutPath(member, self.put, self._bytes_max)
            self._range_path = RangePath(
                member,
                self.range,
                store,
                READS_MAX,
                self._turn,
                self._serve_now,
                self._serve_range,
            )

    def register(self, methods: MethodTable) -> None:
        """Add the methods of the service."""
        service = b"/etcdserverpb.KV/"
        methods.unary(service + b"Put", self._put_path or self.put, self._put_path)
        methods.unary(service + b"Range", self._range_path or self.range)
        methods.unary(service + b"DeleteRange", self.delete_range)
        methods.unary(service + b"Txn", self.txn)
        methods.unary(service + b"Compact", self.compact)

    @property
    def put_count(self) -> int:
        """Puts that were asked for."""
        quick = 0 if self._put_path is None else self._put_path.count
        return self._slow_put_count + quick

    @property
    def range_count(self) -> int:
        """Ranges that were asked for."""
        quick = 0 if self._range_path is None else self._range_path.count
        return self._slow_range_count + quick

    def put(self, stream: Stream, message: bytes) -> None:
        """Propose a put."""
        self._slow_put_count += 1
        self._write(CommandKind.PUT, self._store.check_put(message), stream, message)

    def delete_range(self, stream: Stream, message: bytes) -> None:
        """Propose a deletion."""
        self.delete_count += 1
        self._write(
            CommandKind.DELETE_RANGE, self._store.check_delete_range(message), stream, message
        )

    def txn(self, stream: Stream, message: bytes) -> None:
        """Propose a transaction, or serve it as a read where it only reads."""
        self.txn_count += 1
        store = self._store
        code = self._refusal(stream) or store.check_txn(message)
        if code or not store.txn_is_read_only(message):
            self._write(CommandKind.TXN, code, stream, message)
        elif store.txn_is_serializable(message):
            self._serve_now(self._serve_txn, stream, message)
        else:
            self._member.read(self._serve_txn, stream, message)

    def compact(self, stream: Stream, message: bytes) -> None:
        """Propose a compaction: answered when it is applied, or when it is done if `physical`."""
        if code := self._refusal(stream):
            stream.fail(*ERRORS[code])
            return
        try:
            request = pb.CompactionRequest.FromString(message)
        except DecodeError:
            stream.fail(*ERRORS[ErrorCode.INVALID_REQUEST])
            return
        waiter = PhysicalCompaction(self._member, request.revision, stream)
        self._member.propose(
            CommandKind.COMPACTION, message, waiter if request.physical else stream
        )

    def range(self, stream: Stream, message: bytes) -> None:
        """Serve a range at once if it is serializable, else once this member is level."""
        self._slow_range_count += 1
        code = self._store.check_range(message)
        refusal = self._refusal(stream)
        if code:
            stream.fail(*ERRORS[ErrorCode(code)])
        elif refusal and refusal is not ErrorCode.NOT_SUPPORTED_FOR_LEARNER:
            stream.fail(*ERRORS[refusal])
        elif self._is_serializable(message):
            self._serve_now(self._serve_range, stream, message)
        elif refusal:
            stream.fail(*ERRORS[refusal])
        else:
            self._member.read(self._serve_range, stream, message)

    def _is_serializable(self, message: bytes) -> bool:
        # `in` would first take the needle for a number: it makes and drops an exception.
        return message.find(SERIALIZABLE_SET) >= 0 and bool(
            pb.RangeRequest.FromString(message).serializable
        )

    def _refusal(self, stream: Stream) -> ErrorCode | None:
        """Say why this member serves no keys now, if so."""
        if lacks_leader(self._member, stream):
            return ErrorCode.NO_LEADER
        if self._member.is_learner:
            return ErrorCode.NOT_SUPPORTED_FOR_LEARNER
        return ErrorCode.CORRUPT if self._member.cluster.alarms.is_corrupt else None

    def _write(self, kind: int, code: int, stream: Stream, message: bytes) -> None:
        if len(message) > self._bytes_max:
            code = ErrorCode.REQUEST_TOO_LARGE
        code = self._refusal(stream) or code
        if not code and kind in GROWING and self._member.quota.refuses(kind, message):
            code = ErrorCode.NO_SPACE
        if code:
            stream.fail(*ERRORS[ErrorCode(code)])
        else:
            self._member.propose(kind, message, stream)

    def _serve_now(self, serve: Serve, stream: Stream, message: bytes) -> None:
        """Serve outside a turn; if the store has failed since the last one, this member ends."""
        try:
            serve(stream, message)
        except StoreIOError as error:
            stream.fail(*ERRORS[ErrorCode.STOPPED])
            self._member.fail(error)

    def _serve_range(self, waiter: Waiter, message: bytes) -> None:
        if self._member.auth.stamp is not None and not is_judged(waiter):
            waiter.fail(*ERRORS[ErrorCode.AUTH_OLD_REVISION])  # asked while there were no users
            return
        self._answer_range(waiter, message)

    def _answer_range(self, waiter: Waiter, message: bytes) -> None:
        """Answer at once, or in pieces where that would be long and a stream waits."""
        large = self._large_ranges
        if large is None or not isinstance(getattr(waiter, "stream", waiter), Stream):
            _answer(waiter, self._store.range(message, self._member.node.term))
            return
        if self._turn.must_wait():
            self._turn.defer(lambda: self._answer_small(large, waiter, message))
        else:
            self._answer_small(large, waiter, message)

    def _answer_small(self, large: LargeRanges, waiter: Waiter, message: bytes) -> None:
        """Answer within the turn's budget, or begin to send pieces."""
        term = self._member.node.term
        answer = large.small(message, term)
        if isinstance(answer, bytes):
            self._turn.spend(len(answer))
        if answer is None:
            large.begin(cast(Stream, waiter), message, term)
        else:
            _answer(waiter, answer)

    def _serve_txn(self, waiter: Waiter, message: bytes) -> None:
        if self._member.auth.stamp is not None and not is_judged(waiter):
            waiter.fail(*ERRORS[ErrorCode.AUTH_OLD_REVISION])
            return
        _answer(waiter, self._store.txn_read(message, self._member.node.term))


class PhysicalCompaction:
    """Passes the answer to a compaction on only when the disk is done with it."""

    def __init__(self, member: Member, revision: int, waiter: Waiter) -> None:
        self._member = member
        self._revision = revision
        self._waiter = waiter

    def reply(self, message: bytes) -> None:
        """Wait for the disk, then answer."""
        self._member.housekeeping.answer_when_compacted(self._revision, self._waiter, message)

    def fail(self, code: int, text: str) -> None:
        """Pass the failure on."""
        self._waiter.fail(code, text)


def _answer(waiter: Waiter, result: bytes | int) -> None:
    if isinstance(result, bytes):
        waiter.reply(result)
    else:
        waiter.fail(*ERRORS[ErrorCode(result)])
