"""The small decisions of a member: ids, members, trimming, compaction by schedule, forwarding."""

import pytest

from raftkv.config import ClusterConfig, CompactionMode
from raftkv.errors import ErrorCode
from raftkv.server import forwarding
from raftkv.server.auto_compaction import AutoCompaction
from raftkv.server.early_election import EarlyElection
from raftkv.server.identity import cluster_id_of, member_id_of
from raftkv.server.log_trimmer import HELD_ENTRIES_MAX, MARK_BYTES, TAIL_BYTES_MAX, LogTrimmer
from raftkv.server.membership import MemberRecord, Membership


def test_member_ids_are_those_that_etcd_computes() -> None:
    """Computed by etcd 3.4 for --initial-cluster default=http://localhost:2380."""
    member_id = member_id_of(["http://localhost:2380"], "etcd-cluster")
    assert member_id == 0x8E9E05C52164694D
    assert cluster_id_of([member_id]) == 0xCDF818194E3A8C32


def test_the_token_tells_clusters_of_equal_urls_apart() -> None:
    assert member_id_of(["http://a:1"], "one") != member_id_of(["http://a:1"], "two")
    assert member_id_of(["http://a:1", "http://b:1"], "t") == member_id_of(
        ["http://b:1", "http://a:1"], "t"
    )


def test_a_member_has_no_name_until_it_published_itself() -> None:
    members = Membership(ClusterConfig({"a": ("http://a:1",), "b": ("http://b:1",)}, "t", False))
    assert [record.name for record in members.list()] == ["", ""]
    record = MemberRecord(members.id_of_name["a"], "a", ("http://a:1",), ("http://a:2",))
    members.load([(record.key, record.encode()), (b"other/1", b"not a member")])
    members.publish(MemberRecord(12345, "stranger", (), ()))
    assert members[record.id] == record
    assert len(members.list()) == 2


def test_the_log_keeps_what_is_not_flushed_and_a_tail() -> None:
    trimmer = LogTrimmer(first_index=1, tail_entries=100)
    trimmer.applied(1000)
    assert trimmer.due(flushed_index=300) == 300
    assert trimmer.due(flushed_index=310) == 0
    assert trimmer.due(flushed_index=1000) == 900


def test_few_large_entries_are_no_reason_to_keep_all_of_them() -> None:
    trimmer = LogTrimmer(first_index=1, tail_entries=5000)
    for index in range(1, 2 * TAIL_BYTES_MAX // MARK_BYTES + 1):
        trimmer.applied(index, MARK_BYTES)
    dropped = trimmer.due(flushed_index=index)
    kept = (index - dropped) * MARK_BYTES
    assert TAIL_BYTES_MAX - 2 * MARK_BYTES <= kept <= TAIL_BYTES_MAX + 2 * MARK_BYTES


def test_the_log_behind_a_snapshot_under_way_is_held_but_not_for_ever() -> None:
    trimmer = LogTrimmer(first_index=1, tail_entries=10)
    trimmer.applied(1000)
    trimmer.hold(7, 400)
    assert trimmer.due(flushed_index=1000) == 400
    trimmer.applied(HELD_ENTRIES_MAX + 900)
    assert trimmer.due(flushed_index=HELD_ENTRIES_MAX + 900) == 900
    trimmer.release(7)
    assert trimmer.due(flushed_index=HELD_ENTRIES_MAX + 900) == HELD_ENTRIES_MAX + 890


def test_periodic_compaction_keeps_one_period() -> None:
    compaction = AutoCompaction(CompactionMode(period_s=100.0), now=0.0)
    due = {now: compaction.due(float(now), 1000 + now) for now in range(0, 301, 5)}
    assert {now: revision for now, revision in due.items() if revision} == {
        100: 1000,
        200: 1100,
        300: 1200,
    }


def test_compaction_by_revision_keeps_a_number_of_them() -> None:
    compaction = AutoCompaction(CompactionMode(revisions=100), now=0.0)
    assert compaction.due(299.0, 5000) == 0
    assert compaction.due(300.0, 5000) == 4900
    assert compaction.due(301.0, 6000) == 0
    assert compaction.due(600.0, 5000) == 0


def test_without_retention_nothing_is_compacted() -> None:
    compaction = AutoCompaction(CompactionMode(), now=0.0)
    assert not any(compaction.due(now * 1000.0, 10**6) for now in range(100))


@pytest.mark.parametrize(
    "message",
    [
        forwarding.Propose(7, b"batch"),
        forwarding.Refused(9, ErrorCode.LEADER_CHANGED),
    ],
)
def test_forwarded_messages_survive_the_wire(
    message: forwarding.Propose | forwarding.Refused,
) -> None:
    assert forwarding.decode(forwarding.encode(message)) == message


@pytest.mark.parametrize(
    "data", [b"", b"\x01", b"\x09" + bytes(8), b"\x03" + bytes(9), b"\x02" + bytes(9)]
)
def test_malformed_forwarded_messages_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"forwarded|ErrorCode"):
        forwarding.decode(data)


def test_members_take_turns_to_campaign_once_they_reach_a_quorum() -> None:
    first, second = EarlyElection(1), EarlyElection(2)
    voters = {1, 2, 3}
    assert not any(first.tick(0, [], voters) for _ in range(5))
    assert [first.tick(0, [2], voters) for _ in range(5)] == [True, False, False, False, False]
    assert [second.tick(0, [1], voters) for _ in range(5)] == [False, False, True, False, False]
    assert not second.tick(1, [1], voters)
    assert [second.tick(0, [3], voters) for _ in range(2)] == [True, False]


def test_learners_neither_campaign_early_nor_count() -> None:
    learner, voter = EarlyElection(4), EarlyElection(1)
    assert not any(learner.tick(0, [1, 2, 3], {1, 2, 3}) for _ in range(20))
    assert not any(voter.tick(0, [4, 5], {1, 2, 3}) for _ in range(20))
