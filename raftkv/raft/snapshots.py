"""Snapshots: how a follower gets what the log no longer has (Raft §7).

The core decides that one is needed and says so in a SNAPSHOT message; the caller streams the state,
as of the message's index or a later one, and delivers the message to the receiving core only when
the state is complete there, with the metadata of what was streamed.
"""

from __future__ import annotations

from raftkv.raft.messages import Message, MessageType, SnapshotMetadata
from raftkv.raft.progress import Progress, ProgressState
from raftkv.raft.roles import Role
from raftkv.raft.state import RaftState


def needs_snapshot(state: RaftState, progress: Progress) -> bool:
    """Say whether the log lacks the entry that a follower needs next, or the one before it."""
    return progress.asks_for_snapshot or progress.next_index < state.log.first_index


def may_send(state: RaftState, progress: Progress) -> bool:
    """Say whether a snapshot may be offered now: to someone who listens, of a settled state."""
    return progress.recent_active and 0 < state.applied_index >= state.configuration_index


def send(state: RaftState, member: int, progress: Progress) -> None:
    """Ask the caller to send the state as applied here."""
    index = state.applied_index
    metadata = SnapshotMetadata(index, state.log.term(index), state.configuration)
    progress.become_snapshot(index)
    state.outbox.append(
        Message(MessageType.SNAPSHOT, member, state.id, state.term, snapshot=metadata)
    )


def report(state: RaftState, member: int, *, ok: bool) -> None:
    """Note how a transfer ended; what comes next waits for a sign of life of the follower."""
    progress = state.peers.get(member)
    if progress is None or progress.state is not ProgressState.SNAPSHOT:
        return
    if ok:
        progress.asks_for_snapshot = False
    else:
        progress.pending_snapshot = 0
    progress.become_probe()
    progress.send_empty = False
    progress.probe_sent = True


def handle(state: RaftState, message: Message) -> None:
    """Take a snapshot whose state is complete here, of the leader of our term."""
    state.election_elapsed = 0
    state.leader_id = message.sender
    _take(state, message)


def handle_late(state: RaftState, message: Message) -> None:
    """Take a snapshot that a leader of an earlier term sent: committed stays committed."""
    if state.role is Role.FOLLOWER:
        _take(state, message)


def _take(state: RaftState, message: Message) -> None:
    """Replace the log by a snapshot, unless it has all of that already."""
    metadata, log = message.snapshot, state.log
    if metadata is None:
        return
    if metadata.index > log.commit_index:
        if log.matches(metadata.index, metadata.term):
            state.commit_to(metadata.index)
        elif state.id not in metadata.configuration.members:
            return  # the state of a cluster that we are not in
        else:
            _restore(state, metadata)
    if state.leader_id:
        state.acknowledge(state.leader_id, log.commit_index)


def _restore(state: RaftState, metadata: SnapshotMetadata) -> None:
    state.log.restore(metadata.index, metadata.term)
    state.take_answers_above(0)  # they vouch for a log that is gone
    state.configuration = metadata.configuration
    state.configuration_index = metadata.index
    state.pending_snapshot = metadata
