"""Every option of Maintenance: a real etcd and raftkv answer the same."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from urllib.request import urlopen

import pytest

from raftkv.errors import ErrorCode
from raftkv.pb.etcd import rpc_pb2 as pb
from tests.raftkv.compat.pair import (
    Call,
    Side,
    Step,
    both_answer,
    compact,
    delete,
    get,
    grant,
    opened,
    put,
    running_pair,
    txn,
)
from tests.raftkv.compat.test_errors import downgrade, status_of

pytestmark = pytest.mark.slow

A = pb.AlarmRequest
QUOTA_BYTES = 4 << 20
STATUS: Call = ("Maintenance/Status", pb.StatusRequest(), pb.StatusResponse)


def alarm(action: "pb.AlarmRequest.AlarmAction", member: int = 0, kind: int = pb.NONE) -> Call:
    request = A(action=action, memberID=member, alarm=kind)  # type: ignore[arg-type]
    return "Maintenance/Alarm", request, pb.AlarmResponse


def hash_kv(revision: int) -> Call:
    return "Maintenance/HashKV", pb.HashKVRequest(revision=revision), pb.HashKVResponse


ALARMS: dict[str, Sequence[Step]] = {
    "none armed": [alarm(A.GET)],
    "arm, list, disarm": [
        alarm(A.ACTIVATE, 5, pb.NOSPACE),
        alarm(A.GET),
        alarm(A.GET, 5, pb.NOSPACE),
        alarm(A.GET, 0, pb.NOSPACE),
        alarm(A.GET, 0, pb.CORRUPT),
        alarm(A.DEACTIVATE, 5, pb.NOSPACE),
        alarm(A.GET),
    ],
    "armed twice": [
        alarm(A.ACTIVATE, 5, pb.NOSPACE),
        alarm(A.ACTIVATE, 5, pb.NOSPACE),
        alarm(A.ACTIVATE, 6, pb.NOSPACE),
        alarm(A.GET, 0, pb.NOSPACE),
        alarm(A.DEACTIVATE, 5, pb.NOSPACE),
        alarm(A.GET, 0, pb.NOSPACE),
        alarm(A.DEACTIVATE, 6, pb.NOSPACE),
    ],
    "arm none": [alarm(A.ACTIVATE, 5, pb.NONE), alarm(A.GET)],
    "disarm what is not armed": [alarm(A.DEACTIVATE, 5, pb.CORRUPT)],
    "disarm none": [
        alarm(A.ACTIVATE, 5, pb.NOSPACE),
        alarm(A.DEACTIVATE, 5, pb.NONE),
        alarm(A.GET),
        alarm(A.DEACTIVATE, 5, pb.NOSPACE),
    ],
}


@pytest.mark.parametrize("name", ALARMS)
async def test_alarm(same: list[Side], name: str) -> None:
    await both_answer(same, ALARMS[name])


async def test_defragment_has_no_header(same: list[Side]) -> None:
    request = ("Maintenance/Defragment", pb.DefragmentRequest(), pb.DefragmentResponse)
    assert await both_answer(same, [request]) == [""]


async def test_status(same: list[Side]) -> None:
    """What a single member says of itself; the version is that of the API: 3.5 and 3.6."""
    await both_answer(same, [put(b"s"), alarm(A.ACTIVATE, 5, pb.NOSPACE)])
    told = [await side.ask(*STATUS) for side in same]
    for one in told:
        assert one.header.member_id == one.leader
        assert one.raftTerm == one.header.raft_term
        assert one.raftAppliedIndex == one.raftIndex > 0
        assert one.dbSize >= one.dbSizeInUse > 0
        assert not one.isLearner
    assert told[1].errors == told[0].errors == ["memberID:5 alarm:NOSPACE "]
    assert told[1].header.revision == told[0].header.revision
    await both_answer(same, [alarm(A.DEACTIVATE, 5, pb.NOSPACE)])


async def test_hash_kv(same: list[Side]) -> None:
    """Equal histories have equal hashes, whichever revision is named; compaction changes them."""
    await both_answer(same, [put(b"h", b"%d" % n) for n in range(4)])
    for side in same:
        now = await side.revision()
        first, again, before = [
            await side.ask(*hash_kv(revision)) for revision in (0, now, now - 1)
        ]
        assert (first.hash, first.compact_revision) == (again.hash, again.compact_revision)
        assert first.hash != before.hash
        await side.ask(*compact(now - 2))
        after = await side.ask(*hash_kv(now))
        assert after.compact_revision == now - 2
        assert after.header.revision == now


async def test_hash(same: list[Side]) -> None:
    """The hash of everything is another one after a write."""
    request = ("Maintenance/Hash", pb.HashRequest(), pb.HashResponse)
    for side in same:
        before = await side.ask(*request)
        await side.ask(*put(b"hash"))
        after = await side.ask(*request)
        assert before.hash != after.hash
        assert after.header.revision == before.header.revision + 1


DOWNGRADES: dict[str, tuple[str, str, bool]] = {
    "one minor": ("3.4.0", "3.5.0", True),
    "one minor, any patch": ("3.4.9", "3.5.9", True),
    "without patch": ("3.4", "3.5", True),
    "the same version": ("3.5.0", "3.6.0", False),
    "two minors": ("3.3.0", "3.4.0", False),
    "another major": ("2.4.0", "2.5.0", False),
    "no version": ("x", "x", False),
    "major only": ("3", "3", False),
}


@pytest.mark.parametrize("name", DOWNGRADES)
async def test_downgrade_validation(same: list[Side], name: str) -> None:
    """Each side is asked for the same distance from its own version."""
    of_etcd, of_raftkv, is_valid = DOWNGRADES[name]
    told = []
    for side, version in zip(same, (of_etcd, of_raftkv), strict=True):
        answer = await side.answer(*downgrade("VALIDATE", version))
        told.append("valid" if isinstance(answer, str) else answer)
    assert told[1] == told[0]
    assert (told[0] == "valid") == is_valid


async def test_a_downgrade_is_told_until_it_is_canceled(
    same: list[Side], pair: tuple[str, str]
) -> None:
    """As etcd 3.6 does; etcd 3.5.1 never answers."""
    side = same[1]
    begun = await side.ask(*downgrade("ENABLE", "3.5.0"))
    assert begun.version == "3.6.0"
    status = await side.ask(*STATUS)
    assert (status.downgradeInfo.enabled, status.downgradeInfo.targetVersion) == (True, "3.5.0")
    assert status.storageVersion == "3.5.0"
    url = f"http://{pair[1]}/version"
    versions = json.loads(await asyncio.to_thread(lambda: urlopen(url, timeout=5).read()))
    assert versions == {"etcdserver": "3.6.0", "etcdcluster": "3.5.0", "storage": "3.5.0"}
    assert (await side.ask(*downgrade("CANCEL", ""))).version == "3.5.0"
    status = await side.ask(*STATUS)
    assert not status.downgradeInfo.enabled
    assert status.storageVersion == "3.6.0"


async def test_the_quota(tmp_path: Path) -> None:
    """A member at its quota refuses what adds, arms the alarm itself, and serves after room
    was made and the alarm disarmed."""
    flags = [f"--quota-backend-bytes={QUOTA_BYTES}"]
    with running_pair(tmp_path, flags) as (etcd, raftkv):
        written = []
        for endpoint in (etcd, raftkv):
            async with opened(endpoint) as channel:
                side = Side(channel)
                written.append(await check_quota(side, counts_nested=endpoint == raftkv))
                if endpoint == raftkv:  # etcd 3.5 refuses transactions that only delete, too
                    await check_deletions(Side(channel))
    assert written[1] <= 45, "etcd looks at its file, which grows later than what it is given"


async def check_deletions(side: Side) -> None:
    """Fill the member again: a transaction that makes room is served."""
    while isinstance(await side.answer(*put(b"big", b"x" * 100_000)), str):
        pass
    assert isinstance(await side.answer(*txn([], [delete(b"big")])), str)


async def check_quota(side: Side, *, counts_nested: bool) -> int:
    """Write until it is refused; returns how many writes that took.

    To etcd 3.5, what is nested costs nothing, and so is taken while its file is not quite full.
    """
    refused = status_of(ErrorCode.NO_SPACE)
    member = (await side.ask(*STATUS)).header.member_id
    for number in range(200):
        answer = await side.answer(*put(b"big", b"%100000d" % number))
        if answer == refused:
            break
    else:
        raise AssertionError("the quota is not kept")
    assert number >= 20, "four megabytes, a hundred kilobytes each"
    async with asyncio.timeout(10):
        while not (armed := await side.ask(*alarm(A.GET))).alarms:
            await asyncio.sleep(0.02)
    assert [(one.memberID, one.alarm) for one in armed.alarms] == [(member, pb.NOSPACE)]
    assert await side.answer(*put(b"small")) == refused
    assert await side.answer(*txn([], [put(b"small")])) == refused
    if counts_nested:
        assert await side.answer(*txn([], [txn([], [put(b"small")])])) == refused
    assert await side.answer(*grant(7)) == refused
    assert isinstance(await side.answer(*get(b"big", count_only=True)), str)
    await side.ask(*delete(b"big"))
    await side.ask(*compact(await side.revision()))
    await side.ask("Maintenance/Defragment", pb.DefragmentRequest(), pb.DefragmentResponse)
    assert await side.answer(*put(b"small")) == refused, "until the alarm is disarmed"
    await side.ask(*alarm(A.DEACTIVATE, member, pb.NOSPACE))
    assert isinstance(await side.answer(*put(b"small")), str)
    assert isinstance(await side.answer(*grant(7)), str)
    return number
