"""Messages of another term than ours (Raft §5.1)."""

from __future__ import annotations

from raftkv.raft import election, snapshots
from raftkv.raft.messages import APPEND, HEARTBEAT, HEARTBEAT_RESPONSE, Message, MessageType
from raftkv.raft.state import RaftState

FROM_LEADER = frozenset({APPEND, HEARTBEAT, MessageType.SNAPSHOT})
"""Messages that only the leader of their term sends."""


def meet_higher(state: RaftState, message: Message) -> bool:
    """Deal with a term above ours; False if that was all that the message was for."""
    is_vote = message.type in (MessageType.VOTE, MessageType.PRE_VOTE)
    if is_vote and not message.force and state.in_lease():
        return False
    if message.type is MessageType.PRE_VOTE:
        election.handle_vote_request(state, message)  # which changes nothing here
        return False
    if message.type is MessageType.PRE_VOTE_RESPONSE and not message.reject:
        election.handle_vote_response(state, message)
        return False
    leader = message.sender if message.type in FROM_LEADER else 0
    state.become_follower(message.term, leader)
    return True


def answer_lower(state: RaftState, message: Message) -> None:
    """Tell a sender of an old term about ours where it would not learn it otherwise.

    A member that campaigned while cut off has a term above its leader's, refuses its APPENDs
    and cannot win: the answer makes that leader step down, and a new election includes both.
    """
    match message.type:
        case MessageType.APPEND | MessageType.HEARTBEAT if (
            state.config.check_quorum or state.config.pre_vote
        ):
            _tell_term(state, message.sender)
        case MessageType.VOTE:
            # A candidate that we would not ask for its vote learns of our term by this alone.
            _tell_term(state, message.sender)
        case MessageType.PRE_VOTE:
            state.outbox.append(
                Message(
                    MessageType.PRE_VOTE_RESPONSE,
                    message.sender,
                    state.id,
                    state.term,
                    reject=True,
                )
            )
        case MessageType.PRE_VOTE_RESPONSE | MessageType.VOTE_RESPONSE:
            election.learn_from_answer(state, message)
        case MessageType.SNAPSHOT:
            snapshots.handle_late(state, message)
        case _:
            pass


def _tell_term(state: RaftState, member: int) -> None:
    """Answer what promises nothing, should the receiver lead our term or ask for its votes."""
    state.outbox.append(Message(HEARTBEAT_RESPONSE, member, state.id, state.term))
