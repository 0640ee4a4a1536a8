"""Log replication: sending, accepting, acknowledging and committing entries (Raft §5.3, §5.4.2)."""

from __future__ import annotations

from raftkv.raft import snapshots
from raftkv.raft.errors import LogCompacted
from raftkv.raft.messages import (
    APPEND,
    APPEND_RESPONSE,
    HEARTBEAT,
    HEARTBEAT_RESPONSE,
    Entry,
    Message,
    MessageType,
    are_intact,
    size_of,
)
from raftkv.raft.progress import PROBE, REPLICATE, Progress, ProgressState
from raftkv.raft.roles import LEADER
from raftkv.raft.state import RaftState

APPENDS_PER_READY_MAX = 8
"""APPENDs to one follower in one `Ready`: one that is far behind must not hold up the rest."""

NO_ANSWER = 1
"""The context of an APPEND without entries that is answered only where it is refused."""


# --- the leader's side -----------------------------------------------------------------------


def wants_append(state: RaftState, progress: Progress) -> bool:
    """Say whether a follower is owed an APPEND that may be sent now.

    Asked several times a turn, mostly about followers that are owed nothing: that comes first.
    """
    log = state.log
    if (
        progress.next_index > log.last_index  # so it needs no snapshot, unless it asks for one
        and not progress.send_empty
        and not progress.asks_for_snapshot
        and (state.hold_commit or not lacks_commit(state, progress))
    ):
        return False
    if progress.is_paused():
        return False
    if snapshots.needs_snapshot(state, progress):
        return snapshots.may_send(state, progress)
    # If not, the next tick allows more.
    return state.catch_up_bytes > 0 or log.is_cached(progress.next_index)


def lacks_commit(state: RaftState, progress: Progress) -> bool:
    """Say whether a follower that is being sent entries was not told of all that is committed."""
    return progress.state is REPLICATE and progress.commit_sent < state.log.commit_index


def send_appends(state: RaftState) -> None:
    """Send every follower what it is owed, within its bounds.

    Followers that stand at the same index get the same tuple of entries.
    """
    slices: dict[int, tuple[Entry, ...]] = {}
    for member, progress in state.peers.items():
        for _ in range(APPENDS_PER_READY_MAX):
            if not wants_append(state, progress):
                break
            try:
                _send_append(state, member, progress, slices)
            except LogCompacted:
                break  # cut meanwhile by the log's writer; the next look finds out


def _send_append(
    state: RaftState, member: int, progress: Progress, slices: dict[int, tuple[Entry, ...]]
) -> None:
    log, config = state.log, state.config
    start = progress.next_index
    if snapshots.needs_snapshot(state, progress):
        snapshots.send(state, member, progress)
        return
    entries = slices.get(start)
    if entries is None:
        entries = ()
        if start <= log.last_index:
            entries = tuple(
                log.entries(
                    start,
                    log.last_index + 1,
                    config.append_bytes_max,
                    config.entries_per_append_max,
                )
            )
        slices[start] = entries
    # What only tells of a commit would cost both sides another turn for an answer without news.
    awaits_answer = progress.send_empty or progress.state is not REPLICATE
    state.outbox.append(
        Message(
            APPEND,
            member,
            state.id,
            state.term,
            log_term=log.term(start - 1),
            index=start - 1,
            commit=log.commit_index,
            entries=entries,
            context=0 if entries or awaits_answer else NO_ANSWER,
        )
    )
    size = size_of(entries)
    progress.sent(start - 1 + len(entries), size, log.commit_index)
    if not log.is_cached(start):
        state.catch_up_bytes -= size


def send_heartbeats(state: RaftState) -> None:
    """Tell everyone that we lead. Never name a commit index that the receiver may not hold."""
    for member, progress in state.peers.items():
        state.outbox.append(
            Message(
                HEARTBEAT,
                member,
                state.id,
                state.term,
                commit=min(progress.match_index, state.log.commit_index),
                context=state.reads.round,
            )
        )


def tick_catch_up(state: RaftState) -> None:
    """Allow what a tick allows to be read from disk, for followers that are far behind."""
    allowed = max(state.config.catch_up_bytes_per_tick, 2 * state.appended_bytes)
    state.catch_up_bytes = min(state.catch_up_bytes, 0) + allowed
    state.appended_bytes = 0


def tick_heartbeat(state: RaftState) -> None:
    """Count a leader's tick and send heartbeats when due."""
    state.heartbeat_elapsed += 1
    if state.heartbeat_elapsed >= state.config.heartbeat_ticks:
        state.heartbeat_elapsed = 0
        send_heartbeats(state)


def handle_append_response(state: RaftState, message: Message) -> None:
    """Note how far a follower is; commit, back off, or hand over the lead accordingly."""
    progress = state.peers.get(message.sender)
    if state.role is not LEADER or progress is None:
        return
    progress.recent_active = True
    if message.reject:
        next_probe = message.reject_hint
        if message.log_term > 0:
            next_probe, _ = state.log.find_conflict(message.reject_hint, message.log_term)
        progress.rejected(message.index, next_probe)
        return
    if message.index > state.log.last_index:
        return  # vouches for what we never sent; not of this cluster
    news = progress.accepted(message.index)
    if progress.state is PROBE:
        if news or progress.match_index == message.index:
            progress.become_replicate()
    elif progress.state is ProgressState.SNAPSHOT and (
        progress.match_index + 1 >= state.log.first_index
    ):
        progress.become_replicate()
    if news:
        maybe_commit(state)
        maybe_hand_over(state)


def maybe_commit(state: RaftState) -> bool:
    """Commit what a quorum holds, if its last entry is of our term; True if that is news.

    Counting copies does not commit entries of earlier terms (Raft §5.4.2, Figure 8).
    """
    index = state.configuration.committed(state.match_index)
    if index <= state.log.commit_index or state.log.term(index) != state.term:
        return False
    state.commit_to(index)
    return True


def has_committed_in_term(state: RaftState) -> bool:
    """Say whether the commit index is of our term, so that a leader knows all that is committed."""
    return state.log.term(state.log.commit_index) == state.term


def maybe_hand_over(state: RaftState) -> None:
    """Tell the next leader to campaign once it holds all that we hold."""
    if state.transferee and state.peers[state.transferee].match_index == state.log.last_index:
        state.outbox.append(
            Message(MessageType.TIMEOUT_NOW, state.transferee, state.id, state.term)
        )


def handle_heartbeat_response(state: RaftState, message: Message) -> None:
    """Note that a follower is alive, and confirm the reads of its round."""
    progress = state.peers.get(message.sender)
    if state.role is not LEADER or progress is None:
        return
    progress.recent_active = True
    progress.heartbeat_answered(state.log.last_index)
    if message.sender == state.transferee:
        maybe_hand_over(state)  # the word to campaign may have been lost
    state.reads.answered(message.sender, message.context)


# --- the follower's side ---------------------------------------------------------------------


def handle_append(state: RaftState, message: Message) -> None:
    """Take the leader's entries if they fit on ours; the answer waits for the sync."""
    log = state.log
    state.election_elapsed = 0
    state.leader_id = message.sender
    if not are_intact(message.entries):
        state.damaged_appends += 1
        return
    answers = message.context != NO_ANSWER or bool(message.entries)
    if message.index == 0 and not state.configuration.voters:
        # A log without the membership that it began with would be misread: ask for a snapshot.
        _refuse(state, message)
    elif message.index < log.commit_index:
        # An old message: all up to our commit index agrees with the leader's log anyway.
        if answers:
            state.acknowledge(message.sender, log.commit_index)
    elif log.matches(message.index, message.log_term):
        replaced = log.merge(message.entries)
        if replaced:
            state.take_answers_above(replaced - 1)  # of an earlier leader, and never written
        last_new = message.index + len(message.entries)
        state.commit_to(min(message.commit, last_new))
        if answers:
            state.acknowledge(message.sender, last_new)
    else:
        _refuse(state, message)


def take_next(state: RaftState, message: Message) -> None:
    """Take the leader's intact entries, which begin behind our last one."""
    state.election_elapsed = 0
    state.log.append(message.entries)
    state.commit_to(min(message.commit, state.log.last_index))


def _refuse(state: RaftState, message: Message) -> None:
    """Refuse an APPEND and say where the logs may agree; promises nothing, so goes at once."""
    hint, hint_term = state.log.find_conflict(message.index, message.log_term)
    state.outbox.append(
        Message(
            APPEND_RESPONSE,
            message.sender,
            state.id,
            state.term,
            log_term=hint_term,
            index=message.index,
            reject=True,
            reject_hint=hint,
        )
    )


def handle_heartbeat(state: RaftState, message: Message) -> None:
    """Note that the leader lives and what it has committed of ours."""
    state.election_elapsed = 0
    state.leader_id = message.sender
    state.commit_to(min(message.commit, state.log.last_index))
    state.outbox.append(
        Message(
            HEARTBEAT_RESPONSE,
            message.sender,
            state.id,
            state.term,
            context=message.context,
        )
    )
