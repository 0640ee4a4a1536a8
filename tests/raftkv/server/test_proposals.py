"""Every command gets exactly one answer, and a lost one is told apart from a slow one."""

from dataclasses import dataclass, field

import pytest

from raftkv._native.command_batch import CommandBatch, answer, read_commands, read_header
from raftkv.errors import ERRORS, ErrorCode
from raftkv.server.command import CommandKind
from raftkv.server.proposals import Batch, Fate, ProposalLimits, Proposals


@dataclass
class Client:
    """Keeps what it is told."""

    answers: list[bytes | str] = field(default_factory=list)

    def reply(self, message: bytes) -> None:
        self.answers.append(message)

    def fail(self, code: int, text: str) -> None:
        self.answers.append(text)


def text(code: ErrorCode) -> str:
    return ERRORS[code][1]


class Leader:
    """Takes batches, or not."""

    def __init__(self) -> None:
        self.fate = Fate.PROPOSED
        self.batches: list[Batch] = []

    def propose(self, batch: Batch) -> Fate:
        if self.fate is Fate.PROPOSED:
            self.batches.append(batch)
        return self.fate


def test_one_turn_makes_one_batch_and_each_client_gets_its_own_answer() -> None:
    proposals, leader = Proposals(7, 100, 5.0), Leader()
    clients = [Client() for _ in range(3)]
    for number, client in enumerate(clients):
        proposals.add(CommandKind.PUT, b"put %d" % number, client)
    proposals.flush(2, 0.0, leader.propose)
    (batch,) = leader.batches
    assert read_header(batch.data) == (7, 100, 3, CommandKind.PUT)
    assert read_commands(batch.data) == [(1, b"put 0"), (1, b"put 1"), (1, b"put 2")]
    taken = proposals.take(100)
    assert taken is not None
    answer(taken.waiters, [b"a", int(ErrorCode.KEY_NOT_FOUND), b"c"], ERRORS)
    assert [client.answers for client in clients] == [
        [b"a"],
        [text(ErrorCode.KEY_NOT_FOUND)],
        [b"c"],
    ]
    assert proposals.pending_count == 0
    assert proposals.take(100) is None


def test_a_later_term_settles_what_was_not_applied() -> None:
    proposals, leader, client = Proposals(7, 1, 5.0), Leader(), Client()
    proposals.add(CommandKind.PUT, b"x", client)
    proposals.flush(2, 0.0, leader.propose)
    proposals.settle(2)
    assert client.answers == []
    proposals.settle(3)
    assert client.answers == [text(ErrorCode.LEADER_CHANGED)]
    assert proposals.take(1) is None


def test_without_a_leader_commands_wait_and_then_hear_so() -> None:
    proposals, leader, client = Proposals(7, 1, 5.0), Leader(), Client()
    leader.fate = Fate.POSTPONED
    proposals.add(CommandKind.PUT, b"x", client)
    proposals.flush(1, 10.0, leader.propose)
    proposals.settle(9)
    proposals.expire(14.9, ErrorCode.TIMEOUT)
    assert client.answers == []
    proposals.expire(15.0, ErrorCode.TIMEOUT)
    assert client.answers == [text(ErrorCode.NO_LEADER)]
    leader.fate = Fate.PROPOSED
    proposals.flush(2, 16.0, leader.propose)
    assert leader.batches == []


def test_postponed_commands_are_proposed_in_order_once_there_is_a_leader() -> None:
    proposals, leader = Proposals(7, 1, 5.0), Leader()
    leader.fate = Fate.POSTPONED
    for number in range(3):
        proposals.add(CommandKind.PUT, b"%d" % number, Client())
        proposals.flush(1, float(number), leader.propose)
    leader.fate = Fate.PROPOSED
    proposals.flush(4, 3.0, leader.propose)
    assert [read_commands(batch.data)[0][1] for batch in leader.batches] == [b"0", b"1", b"2"]
    assert {batch.term for batch in leader.batches} == {4}


def test_a_batch_that_is_not_heard_of_again_times_out() -> None:
    proposals, leader, client = Proposals(7, 1, 5.0), Leader(), Client()
    proposals.add(CommandKind.PUT, b"x", client)
    proposals.flush(1, 0.0, leader.propose)
    proposals.expire(5.0, ErrorCode.TIMEOUT_DUE_TO_CONNECTION_LOST)
    assert client.answers == [text(ErrorCode.TIMEOUT_DUE_TO_CONNECTION_LOST)]


def test_a_refused_batch_is_told_why() -> None:
    proposals, leader, client = Proposals(7, 1, 5.0), Leader(), Client()
    proposals.add(CommandKind.PUT, b"x", client)
    proposals.flush(1, 0.0, leader.propose)
    proposals.refuse(1, ErrorCode.LEADER_CHANGED)
    proposals.refuse(1, ErrorCode.LEADER_CHANGED)
    assert client.answers == [text(ErrorCode.LEADER_CHANGED)]


@pytest.mark.parametrize(
    "limits", [ProposalLimits(commands_max=2), ProposalLimits(bytes_max=2 * (5 + 1))]
)
def test_beyond_the_bounds_clients_hear_too_many_requests(limits: ProposalLimits) -> None:
    proposals = Proposals(7, 1, 5.0, limits)
    clients = [Client() for _ in range(3)]
    taken = [proposals.add(CommandKind.PUT, b"x", client) for client in clients]
    assert taken == [True, True, False]
    assert clients[2].answers == [text(ErrorCode.REQUEST_TOO_MANY_REQUESTS)]


def test_batches_are_cut_by_size_and_compactions_stand_alone() -> None:
    proposals, leader = Proposals(7, 1, 5.0, ProposalLimits(batch_bytes_max=100)), Leader()
    for _ in range(3):
        proposals.add(CommandKind.PUT, b"x" * 60, Client())
    proposals.add(CommandKind.COMPACTION, b"c", Client())
    proposals.add(CommandKind.PUT, b"y", Client())
    proposals.flush(1, 0.0, leader.propose)
    kinds = [[kind for kind, _ in read_commands(batch.data)] for batch in leader.batches]
    assert kinds == [[1, 1], [1], [4], [1]]


def test_stopping_answers_everybody_once() -> None:
    proposals, leader = Proposals(7, 1, 5.0), Leader()
    clients = [Client() for _ in range(3)]
    proposals.add(CommandKind.PUT, b"in flight", clients[0])
    proposals.flush(1, 0.0, leader.propose)
    leader.fate = Fate.POSTPONED
    proposals.add(CommandKind.PUT, b"postponed", clients[1])
    proposals.flush(1, 0.0, leader.propose)
    proposals.add(CommandKind.PUT, b"gathered", clients[2])
    proposals.close()
    proposals.close()
    assert [client.answers for client in clients] == [[text(ErrorCode.STOPPED)]] * 3


@pytest.mark.parametrize("cut", [0, 5, 19, 24, 26])
def test_a_cut_batch_is_refused(cut: int) -> None:
    batch = CommandBatch()
    batch.add(1, b"abc", Client())
    with pytest.raises(ValueError, match="batch"):
        read_commands(batch.seal(1, 2)[:cut])


def test_a_batch_with_a_lying_length_is_refused() -> None:
    batch = CommandBatch()
    batch.add(1, b"abc", Client())
    sealed = bytearray(batch.seal(1, 2))
    sealed[21:25] = b"\xff\xff\xff\xff"
    with pytest.raises(ValueError, match="ends inside"):
        read_commands(bytes(sealed))
    with pytest.raises(ValueError, match="after its last"):
        read_commands(batch.seal(1, 2) + b"x")
