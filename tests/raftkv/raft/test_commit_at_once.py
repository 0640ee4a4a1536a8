"""The short way of an answer leaves a leader as the long one does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from raftkv.raft.messages import Message, MessageType
from raftkv.testing.driven_node import Driven

Action = tuple[str, int, int, int]


def answer_of(driven: Driven, action: Action) -> Message:
    """An answer that is mostly of this term, and mostly takes what was sent."""
    kind, sender, back, term = action
    last = driven.node.last_index
    return Message(
        MessageType.APPEND_RESPONSE,
        1,
        sender,
        driven.node.term + term,
        index=max(0, last - back + (back == 5) * 6),
        log_term=1 if kind == "refuse" else 0,
        reject=kind == "refuse",
        reject_hint=max(0, last - 2) if kind == "refuse" else 0,
    )


def act(driven: Driven, action: Action, *, at_once: bool) -> None:
    """Do one thing, and what is owed after it."""
    if action[0] in ("accept", "refuse"):
        message = answer_of(driven, action)
        entries = driven.node.commit_at_once(message) if at_once else None
        if entries is None:
            driven.node.step(message)
        for entry in entries or ():
            driven.applied.append(entry.index)
            driven.node.applied(entry.index)
    elif action[0] == "propose" and driven.node.role.name == "LEADER":
        driven.node.propose(b"x" * action[2])
    elif action[0] == "tick":
        driven.node.tick()
    driven.sync() if action[0] == "sync" else driven.take()


actions = st.tuples(
    st.sampled_from(("accept",) * 4 + ("propose",) * 3 + ("refuse", "sync", "sync", "tick")),
    st.sampled_from((2, 3, 4)),
    st.sampled_from((0, 0, 0, 1, 2, 5)),
    st.sampled_from((0, 0, 0, 0, -1, 1)),
)


@given(st.lists(actions, max_size=30))
def test_both_ways_agree(done: list[Action]) -> None:
    """After each action, in state, disk, messages and what is applied."""
    short, long = Driven(terms=[1, 1]), Driven(terms=[1, 1])
    for driven in (short, long):
        driven.lead()
    for action in done:
        act(short, action, at_once=True)
        act(long, action, at_once=False)
        assert short.applied == long.applied
        assert short.sent == long.sent
        assert short.picture() == long.picture()


def test_an_answer_of_an_earlier_term_is_not_counted() -> None:
    """Its entries may have been replaced since: the lead was lost in between, and won again."""
    driven = Driven(terms=[1, 1])
    driven.lead()
    driven.node.propose(b"later")
    driven.sync()
    last = driven.node.last_index
    stale = Message(MessageType.APPEND_RESPONSE, 1, 2, driven.node.term - 1, index=last)
    assert driven.node.commit_at_once(stale) is None
    assert driven.node.commit_index == 0
    fresh = Message(MessageType.APPEND_RESPONSE, 1, 2, driven.node.term, index=last)
    assert driven.node.commit_at_once(fresh)
    assert driven.node.commit_index == last


def test_it_is_for_leaders_and_for_answers_only() -> None:
    driven = Driven(terms=[1, 1])
    answer = Message(MessageType.APPEND_RESPONSE, 1, 2, driven.node.term, index=2)
    assert driven.node.commit_at_once(answer) is None
    driven.lead()
    heartbeat = Message(MessageType.HEARTBEAT_RESPONSE, 1, 2, driven.node.term)
    assert driven.node.commit_at_once(heartbeat) is None
