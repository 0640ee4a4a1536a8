"""Elections: who may campaign, who gets a vote, when a leader must let go (Raft §5.2, §5.4.1)."""

from __future__ import annotations

from raftkv.raft import reconfiguration
from raftkv.raft.messages import Message, MessageType
from raftkv.raft.quorum import VoteResult
from raftkv.raft.roles import Role
from raftkv.raft.state import RaftState


def campaign(state: RaftState, *, force: bool = False) -> None:
    """Try to become leader. `force` (leadership was handed to us) skips pre-vote and leases."""
    if state.role is Role.LEADER or not state.is_promotable():
        return
    if reconfiguration.has_unapplied_change(state):
        state.campaign_when_applied |= force
        return
    if state.config.pre_vote and not force:
        state.become_pre_candidate()
        _ask_for_votes(state, MessageType.PRE_VOTE, force=False)
        _count_votes(state)
    else:
        _campaign_for_real(state, force=force)


def _campaign_for_real(state: RaftState, *, force: bool) -> None:
    state.become_candidate()
    _ask_for_votes(state, MessageType.VOTE, force=force)
    # Our own vote counts like any other: once it is synced. It comes back through `persisted()`.
    state.after_persist.append(Message(MessageType.VOTE_RESPONSE, state.id, state.id, state.term))


def _ask_for_votes(state: RaftState, type_: MessageType, *, force: bool) -> None:
    """Ask all other voters; a pre-vote asks for the term that would follow."""
    pre = type_ is MessageType.PRE_VOTE
    queue = state.outbox if pre else state.after_persist
    for voter in sorted(state.configuration.all_voters - {state.id}):
        queue.append(
            Message(
                type_,
                voter,
                state.id,
                state.term + 1 if pre else state.term,
                index=state.log.last_index,
                log_term=state.log.last_term,
                force=force,
            )
        )


def handle_vote_request(state: RaftState, message: Message) -> None:
    """Grant or refuse a vote or pre-vote of our term or (pre-vote) a later one.

    One vote a term, first come first served, and only to a log as up-to-date as ours (Raft §5.4.1).
    """
    pre = message.type is MessageType.PRE_VOTE
    may_vote = (
        state.vote == message.sender
        or (state.vote == 0 and state.leader_id == 0)
        or (pre and message.term > state.term)
    )
    granted = may_vote and state.log.is_up_to_date(message.index, message.log_term)
    if granted and not pre:
        state.election_elapsed = 0
        state.vote = message.sender
    elif not pre and state.role is Role.CANDIDATE:
        _yield_to_better(state, message)
    answer = Message(
        MessageType.PRE_VOTE_RESPONSE if pre else MessageType.VOTE_RESPONSE,
        message.sender,
        state.id,
        message.term if granted else state.term,
        reject=not granted,
        commit=state.log.commit_index,
        log_term=state.log.term(state.log.commit_index),
    )
    # A vote vouches for what must survive a crash; a pre-vote promises nothing.
    (state.outbox if pre else state.after_persist).append(answer)


def _yield_to_better(state: RaftState, message: Message) -> None:
    """As a candidate, let a rival of the same term be first in the next, if it has more entries.

    Where each campaigns in a configuration that the other does not count in any more, ours asks for
    no vote that it could get, and takes the term of each campaign that could win.
    """
    log = state.log
    if (message.log_term, message.index) > (log.last_term, log.last_index):
        state.election_elapsed = 0
        state.randomized_timeout = 2 * state.config.election_timeout_ticks  # longer than its own


def learn_from_answer(state: RaftState, message: Message) -> None:
    """Take in what a voter of any term knows to be committed, whether it grants or refuses.

    Without that, a member which does not know yet who its majority is would for ever ask former
    voters, which refuse because they have more entries, or are told to end by those who do know.
    """
    log = state.log
    # Below our commit there is nothing to learn, and the log's writer may be cutting it just now.
    if message.commit > log.commit_index and log.matches(message.commit, message.log_term):
        state.commit_to(message.commit)


def handle_vote_response(state: RaftState, message: Message) -> None:
    """Count an answer to the campaign that is under way; others are ignored."""
    learn_from_answer(state, message)
    if message.type is MessageType.PRE_VOTE_RESPONSE:
        expected = state.term if message.reject else state.term + 1
        if state.role is not Role.PRE_CANDIDATE or message.term != expected:
            return
    elif state.role is not Role.CANDIDATE:
        return
    state.votes.setdefault(message.sender, not message.reject)
    _count_votes(state)


def _count_votes(state: RaftState) -> None:
    result = state.configuration.vote_result(state.votes)
    if result is VoteResult.LOST:
        state.become_follower(state.term, 0)
    elif result is VoteResult.WON:
        if state.role is Role.PRE_CANDIDATE:
            _campaign_for_real(state, force=False)
        else:
            state.become_leader()


def tick_election(state: RaftState) -> None:
    """Count a tick of someone who does not lead; campaign when nobody was heard for too long."""
    state.election_elapsed += 1
    if state.election_elapsed >= state.randomized_timeout and state.is_promotable():
        state.election_elapsed = 0
        campaign(state)


def tick_leadership(state: RaftState) -> None:
    """Count a leader's tick; every election timeout, step down if no quorum was heard.

    Raft dissertation §6.2. A transfer that did not end within that time is given up (§3.10).
    """
    state.election_elapsed += 1
    if state.election_elapsed < state.config.election_timeout_ticks:
        return
    state.election_elapsed = 0
    state.transferee = 0
    if not state.config.check_quorum:
        return
    heard = {member: True for member, progress in state.peers.items() if progress.recent_active}
    heard[state.id] = True
    for progress in state.peers.values():
        progress.recent_active = False
    if state.configuration.vote_result(heard) is not VoteResult.WON:
        state.become_follower(state.term, 0)


def handle_timeout_now(state: RaftState) -> None:
    """Campaign at once: the leader hands over to us (Raft dissertation §3.10)."""
    campaign(state, force=True)
