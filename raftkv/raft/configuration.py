"""Who votes, who listens: the membership of a cluster as a value."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from raftkv.raft.quorum import VoteResult, majority_committed, majority_vote

FORMAT = 1
"""First byte of an encoded configuration."""

MEMBERS_MAX = 1024
"""Members that one encoded set may name."""

_HEAD = struct.Struct("<BB")
_COUNT = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Configuration:
    """The membership after some applied entry; the changes are in `configuration_change`.

    Invariants: learners are disjoint from both sets of voters; `learners_next` is within
    `voters_outgoing`; both are empty, and `auto_leave` false, unless joint.
    """

    voters: frozenset[int] = frozenset()
    """Empty only in a member that does not know its cluster yet: it waits for a snapshot."""
    voters_outgoing: frozenset[int] = frozenset()
    """The old voters while a joint change is under way (Raft §6), else empty."""
    learners: frozenset[int] = frozenset()
    """Members that receive the log and do not count."""
    learners_next: frozenset[int] = frozenset()
    """Outgoing voters that become learners when the joint configuration is left."""
    auto_leave: bool = False
    """The leader leaves the joint configuration by itself, as soon as it is applied."""

    @property
    def is_joint(self) -> bool:
        """Whether decisions need a majority of two sets of voters."""
        return bool(self.voters_outgoing)

    @property
    def all_voters(self) -> frozenset[int]:
        """Everyone whose vote counts in either half."""
        return self.voters | self.voters_outgoing

    @property
    def members(self) -> frozenset[int]:
        """Everyone who receives the log."""
        return self.voters | self.voters_outgoing | self.learners

    def committed(self, match_index: Callable[[int], int]) -> int:
        """Return the highest index that both halves hold."""
        incoming = majority_committed(self.voters, match_index)
        if not self.voters_outgoing:
            return incoming
        return min(incoming, majority_committed(self.voters_outgoing, match_index))

    def vote_result(self, votes: Mapping[int, bool]) -> VoteResult:
        """Say how an election stands in which both halves must be won."""
        incoming = majority_vote(self.voters, votes)
        outgoing = majority_vote(self.voters_outgoing, votes)
        if incoming is outgoing:
            return incoming
        if VoteResult.LOST in (incoming, outgoing):
            return VoteResult.LOST
        return VoteResult.PENDING

    def encode(self) -> bytes:
        """Return the bytes that `decode` reads: for snapshots and for the member's records.

        u8 format | u8 auto_leave | four sets in field order, each u32 count, count x u64 id;
        little-endian, ids ascending, so equal configurations have equal bytes.
        """
        parts = [_HEAD.pack(FORMAT, self.auto_leave)]
        for ids in (self.voters, self.voters_outgoing, self.learners, self.learners_next):
            parts.append(struct.pack(f"<I{len(ids)}Q", len(ids), *sorted(ids)))
        return b"".join(parts)

    @classmethod
    def decode(cls, data: bytes) -> Configuration:
        """Read what `encode` made. Raises ValueError for anything else."""
        if len(data) < _HEAD.size:
            raise ValueError("a configuration is cut short")
        version, auto_leave = _HEAD.unpack_from(data)
        if version != FORMAT or auto_leave > 1:
            raise ValueError(f"a configuration of unknown format {version}")
        sets = []
        offset = _HEAD.size
        for _ in range(4):
            ids, offset = _decode_set(data, offset)
            sets.append(ids)
        if offset != len(data):
            raise ValueError(f"{len(data) - offset} bytes too many behind a configuration")
        return cls(sets[0], sets[1], sets[2], sets[3], bool(auto_leave))


def _decode_set(data: bytes, offset: int) -> tuple[frozenset[int], int]:
    """Return one set of ids and where the next begins."""
    if len(data) < offset + _COUNT.size:
        raise ValueError("a configuration is cut short")
    (count,) = _COUNT.unpack_from(data, offset)
    offset += _COUNT.size
    if count > MEMBERS_MAX or len(data) < offset + 8 * count:
        raise ValueError("a configuration is cut short or names too many members")
    return frozenset(struct.unpack_from(f"<{count}Q", data, offset)), offset + 8 * count
