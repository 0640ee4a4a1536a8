"""The same requests to a fresh etcd and a fresh raftkv get the same answers.

Answers are compared as whole messages but for what must differ: ids and terms in headers. Revisions
must be equal too. Refusals are compared by code and text.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from google.protobuf.message import Message

from raftkv.pb.etcd import rpc_pb2 as pb
from tests.raftkv.compat.pair import Side, both_answer, get, opened, put, running_pair

pytestmark = pytest.mark.slow

KEYS = [b"a", b"a/1", b"a/2", b"b", b"b/1", b"c", b"\xff"]
ENDS = [b"", b"", b"", b"\0", b"b", b"a0", b"b0", b"z"]
LEASES = [0, 0, 0, 7, 8, 99]


@pytest.fixture
async def sides(tmp_path: Path) -> AsyncIterator[list[Side]]:
    """A fresh etcd and a fresh raftkv."""
    with running_pair(tmp_path) as (etcd, raftkv):
        async with opened(etcd) as one, opened(raftkv) as other:
            yield [Side(one), Side(other)]


class Requests:
    """Random requests, some of them wrong; `revision` is a guess at the current one."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.revision = 1

    def key(self) -> bytes:
        return self.chance.choice(KEYS) if self.chance.random() < 0.98 else b""

    def put(self) -> pb.PutRequest:
        chance = self.chance
        ignore_value = chance.random() < 0.1
        ignore_lease = chance.random() < 0.1
        return pb.PutRequest(
            key=self.key(),
            value=b"" if ignore_value and chance.random() < 0.8 else b"%d" % chance.randrange(9),
            lease=0 if ignore_lease and chance.random() < 0.8 else chance.choice(LEASES),
            prev_kv=chance.random() < 0.3,
            ignore_value=ignore_value,
            ignore_lease=ignore_lease,
        )

    def delete(self, *, in_txn: bool = False) -> pb.DeleteRangeRequest:
        """In a transaction, end no range with "\\0": etcd 3.5 then overlooks overlapping puts."""
        range_end = self.chance.choice(ENDS)
        return pb.DeleteRangeRequest(
            key=self.key(),
            range_end=b"z" if in_txn and range_end == b"\0" else range_end,
            prev_kv=self.chance.random() < 0.5,
        )

    def range(self) -> pb.RangeRequest:
        chance = self.chance
        plain = chance.random() < 0.4

        def sometimes(value: int) -> int:
            return 0 if plain or chance.random() < 0.8 else value

        return pb.RangeRequest(
            key=self.key(),
            range_end=chance.choice(ENDS),
            limit=sometimes(chance.randrange(1, 4)),
            revision=sometimes(chance.randrange(-1, self.revision + 3)),
            sort_order=sometimes(chance.randrange(3)),  # type: ignore[arg-type]
            sort_target=sometimes(chance.randrange(5)),  # type: ignore[arg-type]
            serializable=chance.random() < 0.2,
            keys_only=chance.random() < 0.2,
            count_only=chance.random() < 0.1,
            min_mod_revision=sometimes(chance.randrange(self.revision + 1)),
            max_mod_revision=sometimes(chance.randrange(self.revision + 1)),
            min_create_revision=sometimes(chance.randrange(self.revision + 1)),
            max_create_revision=sometimes(chance.randrange(self.revision + 1)),
        )

    def compare(self) -> pb.Compare:
        chance = self.chance
        compare = pb.Compare(
            key=chance.choice(KEYS),
            range_end=chance.choice(ENDS) if chance.random() < 0.3 else b"",
            result=chance.randrange(4),  # type: ignore[arg-type]
            target=chance.randrange(5),  # type: ignore[arg-type]
        )
        match compare.target:
            case pb.Compare.VERSION:
                compare.version = chance.randrange(3)
            case pb.Compare.CREATE:
                compare.create_revision = chance.randrange(self.revision + 1)
            case pb.Compare.MOD:
                compare.mod_revision = chance.randrange(self.revision + 1)
            case pb.Compare.VALUE:
                compare.value = b"%d" % chance.randrange(9)
            case _:
                compare.lease = chance.choice(LEASES)
        return compare

    def operation(self, depth: int) -> pb.RequestOp:
        match self.chance.randrange(8 if depth else 7):
            case 0 | 1 | 2:
                return pb.RequestOp(request_put=self.put())
            case 3 | 4:
                return pb.RequestOp(request_range=self.range())
            case 5 | 6:
                return pb.RequestOp(request_delete_range=self.delete(in_txn=True))
            case _:
                return pb.RequestOp(request_txn=self.txn(depth - 1))

    def txn(self, depth: int = 2) -> pb.TxnRequest:
        chance = self.chance
        return pb.TxnRequest(
            compare=[self.compare() for _ in range(chance.randrange(3))],
            success=[self.operation(depth) for _ in range(chance.randrange(4))],
            failure=[self.operation(depth) for _ in range(chance.randrange(3))],
        )

    def next(self) -> tuple[str, Message, type[Message]]:
        """Return a method, its request and the type of its answer."""
        self.revision += 1
        match self.chance.randrange(20):
            case 0 | 1 | 2 | 3 | 4:
                return "KV/Put", self.put(), pb.PutResponse
            case 5 | 6 | 7:
                return "KV/DeleteRange", self.delete(), pb.DeleteRangeResponse
            case 8 | 9 | 10 | 11 | 12:
                return "KV/Range", self.range(), pb.RangeResponse
            case 13:
                revision = self.chance.randrange(-1, max(1, self.revision // 2))
                request = pb.CompactionRequest(revision=revision, physical=True)
                return "KV/Compact", request, pb.CompactionResponse
            case 14:
                lease = pb.LeaseGrantRequest(ID=self.chance.choice([7, 8]), TTL=1000)
                return "Lease/LeaseGrant", lease, pb.LeaseGrantResponse
            case 15 if self.chance.random() < 0.4:
                revoke = pb.LeaseRevokeRequest(ID=self.chance.choice([7, 8, 99]))
                return "Lease/LeaseRevoke", revoke, pb.LeaseRevokeResponse
            case _:
                return "KV/Txn", self.txn(), pb.TxnResponse


@pytest.mark.parametrize("seed", range(4))
async def test_random_requests_get_equal_answers(sides: list[Side], seed: int) -> None:
    requests = Requests(seed)
    await both_answer(sides, [requests.next() for _ in range(400)])
    await both_answer(sides, [get(b"\0", b"\0")])


async def history(side: Side, requests: list[pb.WatchCreateRequest], until: int) -> list[str]:
    """Watch as asked on one stream and return every event up to revision `until`, by watcher."""
    stream = side.channel.stream_stream(
        "/etcdserverpb.Watch/Watch",
        request_serializer=pb.WatchRequest.SerializeToString,
        response_deserializer=pb.WatchResponse.FromString,
    )()
    for create in requests:
        await stream.write(pb.WatchRequest(create_request=create))
    seen: dict[int, list[str]] = {}
    last: dict[int, int] = {}
    async with asyncio.timeout(10):
        while len(last) < len(requests) or min(last.values()) < until:
            response = await stream.read()
            assert isinstance(response, pb.WatchResponse)
            told = seen.setdefault(response.watch_id, [])
            last.setdefault(response.watch_id, 0)
            if response.canceled:
                told.append(f"canceled {response.compact_revision} {response.cancel_reason}")
                last[response.watch_id] = until
            for event in response.events:
                told.append(str(event))
                last[response.watch_id] = event.kv.mod_revision
    stream.cancel()
    return [str(seen[watch_id]) for watch_id in sorted(seen)]


async def test_watches_of_the_past_tell_equal_histories(sides: list[Side]) -> None:
    requests = Requests(99)
    await both_answer(sides, [*(requests.next() for _ in range(300)), put(b"end")])
    told = []
    for side in sides:
        revision = await side.revision()
        watches = [
            pb.WatchCreateRequest(key=b"\0", range_end=b"\0", start_revision=start, prev_kv=prev_kv)
            for start, prev_kv in ((1, True), (revision - 9, True), (revision - 5, False))
        ]
        watches.append(pb.WatchCreateRequest(key=b"z", range_end=b"a", start_revision=1))
        told.append(await history(side, watches, revision))
    assert told[1] == told[0]
