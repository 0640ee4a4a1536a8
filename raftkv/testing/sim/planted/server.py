"""Bugs in how a member handles proposals, reads, leases and its log."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from raftkv._native.command_batch import answer, read_header
from raftkv.errors import ERRORS
from raftkv.lease.lessor import Lessor
from raftkv.raft.configuration import Configuration
from raftkv.raft.messages import Message, SnapshotMetadata
from raftkv.server import snapshot_protocol
from raftkv.server.applier import Applier
from raftkv.server.log_trimmer import LogTrimmer
from raftkv.server.member import Member
from raftkv.server.proposals import Proposals
from raftkv.server.reads import ReadRounds
from raftkv.testing.sim.planted.patch import Patch


def serve_reads_before_applied(patch: Patch) -> None:
    """Confirmed reads do not wait until their index is applied here."""

    def serve(self: ReadRounds, _applied_index: int, *rest: Any) -> None:
        honest(self, 1 << 62, *rest)

    honest = patch.set(ReadRounds, "serve", serve)


def propose_again_at_a_leader_change(patch: Patch) -> None:
    """What was proposed to a lost leader is proposed to the next one too."""

    def follow_leader(self: Any, state: Any) -> None:
        proposals = self.proposals
        if state.leader_id:
            proposals._sealed.extendleft(reversed(proposals._in_flight.values()))
            proposals._in_flight.clear()
        honest(self, state)

    honest = patch.set(Member, "_follow_leader", follow_leader)


def give_up_at_a_leader_change(patch: Patch) -> None:
    """What was proposed to a lost leader is said not to have happened, before that is known."""

    def follow_leader(self: Any, state: Any) -> None:
        if state.leader_id:
            self.proposals.settle(state.term + 1)
        honest(self, state)

    honest = patch.set(Member, "_follow_leader", follow_leader)


def reuse_batch_ids(patch: Patch) -> None:
    """A restarted member counts its batches from the beginning again."""

    def init(self: Any, member_id: int, _first: int, *rest: Any) -> None:
        honest(self, member_id, 1, *rest)

    honest = patch.set(Proposals, "__init__", init)


def answer_for_others(patch: Patch) -> None:
    """Any member that knows a batch's id takes the batch for its own."""

    def apply_batch(self: Any, entry: Any) -> bool:
        _, batch_id, _, kind = read_header(entry.data)
        if kind >= 64:
            return bool(honest(self, entry))
        member = self._member
        batch = member.proposals.take(batch_id)
        results = member.store.apply(entry.index, entry.term, entry.data, batch is not None)
        if batch is None or results is None:
            return False
        found = results[: len(batch.waiters)]
        answer(batch.waiters[: len(found)], found, ERRORS)
        return True

    honest = patch.set(Applier, "_apply_batch", apply_batch)


def renew_without_effect(patch: Patch) -> None:
    """A keep-alive is answered, but the lease ends when it would have."""

    def renew(self: Lessor, lease_id: int, now: float) -> int:
        deadline = self._deadline.get(lease_id)
        return 0 if deadline is None or deadline <= now else self._ttl_s[lease_id]

    patch.set(Lessor, "renew", renew)


def expire_at_promotion(patch: Patch) -> None:
    """A new leader does not give leases their time again."""

    def promote(self: Any, now: float, _extension_s: float) -> None:
        honest(self, now, 0.0)
        self._deadline = dict.fromkeys(self._deadline, now)
        for lease_id in self._deadline:
            self._expiries.put(lease_id, now)

    honest = patch.set(Lessor, "promote", promote)


def renew_what_others_count(patch: Patch) -> None:
    """A leader renews a lease without telling those who count its time since the grant."""
    patch.set(Lessor, "is_settled", lambda self, lease_id: False)


def never_expire(patch: Patch) -> None:
    """Leases live for ever."""
    patch.set(Lessor, "take_expired", lambda self, now, count_max=0: [])


def trim_what_is_not_flushed(patch: Patch) -> None:
    """The log drops entries that the flushed state does not cover."""

    def due(self: LogTrimmer, _flushed_index: int) -> int:
        return int(honest(self, self._applied))

    honest = patch.set(LogTrimmer, "due", due)


def snapshot_without_membership(patch: Patch) -> None:
    """A snapshot does not say who the members are: its receiver takes itself for the only one."""

    def encode_install(message: Message, metadata: SnapshotMetadata) -> bytes:
        alone = Configuration(frozenset({message.to}))
        return bytes(honest(message, replace(metadata, configuration=alone)))

    honest = patch.set(snapshot_protocol, "encode_install", encode_install)
