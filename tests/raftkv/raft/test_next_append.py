"""The short way of an APPEND leaves a node as the long one does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from raftkv.raft.messages import Entry, EntryKind, Message, MessageType
from raftkv.raft.replication import NO_ANSWER
from raftkv.testing.driven_node import Driven

Action = tuple[str, int, int, int, int]


def message_of(driven: Driven, action: Action) -> Message:
    """An APPEND that often, but not always, goes on where the log ends."""
    _, sender, later, back, count = action
    log = driven.node._state.log
    term = driven.node.term + (later == 5)
    index = max(0, log.last_index - (0 if back < 4 else back - 3)) + (back == 9)
    log_term = log.term(index) if index <= log.last_index else term
    entries = tuple(
        Entry(term, index + 1 + place, EntryKind.NORMAL, bytes([later, place]))
        for place in range(count % 4)
    )
    if entries and later == 4:
        entries[-1].checksum ^= 1
    commit = min(log.last_index, driven.node.commit_index + later % 3)
    return Message(
        MessageType.APPEND,
        1,
        sender,
        term,
        log_term=log_term + (later == 3),
        index=index,
        commit=commit,
        entries=entries,
    )


def act(driven: Driven, action: Action, *, at_once: bool) -> bool:
    """Do one thing; returns whether the short way took it."""
    if action[0] == "append":
        message = message_of(driven, action)
        found = driven.node.next_append(message) if at_once else None
        if found is not None:
            driven.log.append(found[0].entries, found[0].hard_state)
            driven.sent.append(found[1])
            driven.node.appended(message)
            return True
        driven.node.step(message)
    elif action[0] == "heartbeat":
        driven.step(MessageType.HEARTBEAT, action[1], driven.node.term, commit=0)
    elif action[0] == "vote":
        driven.step(MessageType.VOTE, action[1], driven.node.term + 1, force=True)
    elif action[0] == "tick":
        driven.node.tick()
    elif action[0] == "read" and driven.node.leader_id:
        driven.node.read_index(action[4])
    return False


actions = st.tuples(
    st.sampled_from(("append",) * 6 + ("heartbeat", "tick", "vote", "read")),
    st.just(2),
    st.sampled_from((0, 1, 1, 2, 2, 3, 4, 5)),
    st.sampled_from((0, 0, 0, 0, 0, 4, 5, 9)),
    st.integers(0, 3),
)


@given(st.lists(st.tuples(actions, st.sampled_from((True, True, False))), max_size=30))
def test_both_ways_agree(done: list[tuple[Action, bool]]) -> None:
    """After each action, in state, disk, answers and what is applied."""
    short, long = Driven(terms=[1, 1]), Driven(terms=[1, 1])
    for driven in (short, long):
        driven.step(MessageType.HEARTBEAT, 2, 1)
        driven.sync()
    for action, then_syncs in done:
        syncs = act(short, action, at_once=True) or then_syncs
        act(long, action, at_once=False)
        for driven in (short, long):
            driven.sync() if syncs else driven.take()
        assert short.work == long.work
        assert short.sent == long.sent
        assert short.picture() == long.picture()
    for driven in (short, long):
        driven.sync()
    assert short.sent == long.sent
    assert short.reads == long.reads
    assert short.picture() == long.picture()


def test_the_usual_case_is_taken() -> None:
    driven = Driven()
    driven.step(MessageType.HEARTBEAT, 2, 1)
    driven.sync()
    assert act(driven, ("append", 2, 0, 0, 2), at_once=False) is False
    driven.sync()
    assert act(driven, ("append", 2, 1, 0, 1), at_once=True)
    assert act(driven, ("append", 2, 1, 0, 1), at_once=False) is False
    driven.take()
    assert not act(driven, ("append", 2, 1, 0, 1), at_once=True), "a sync is under way"
    driven.sync()
    assert [message.index for message in driven.drain(MessageType.APPEND_RESPONSE)] == [2, 3, 4, 5]


def test_a_term_that_is_not_synced_is_not_vouched_for() -> None:
    """The short way writes entries, and so may not run ahead of a term that still has to be."""
    driven = Driven(terms=[1])
    driven.step(MessageType.APPEND, 2, 2, index=1, log_term=1, context=NO_ANSWER)
    entry = Entry(2, 2, EntryKind.NORMAL, b"")
    message = Message(MessageType.APPEND, 1, 2, 2, log_term=1, index=1, entries=(entry,))
    assert driven.node.next_append(message) is None
    driven.sync()
    assert driven.node.next_append(message) is not None
