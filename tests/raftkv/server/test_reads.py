"""A linearizable read is served only from a state that is as new as the read."""

from raftkv._native.waiter import Waiter
from raftkv.errors import ERRORS, ErrorCode
from raftkv.server.reads import RETRY_S, ROUNDS_MAX, SENT_TOGETHER, ReadRounds


class Reader:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[bytes | str] = []

    def reply(self, message: bytes) -> None:
        self.told.append(message)

    def fail(self, code: int, text: str) -> None:
        self.told.append(text)


class Asked:
    """Keeps the contexts that were asked for; `leader` says whether there is anybody to ask."""

    def __init__(self) -> None:
        self.contexts: list[int] = []
        self.leader = True

    def __call__(self, context: int) -> bool:
        if self.leader:
            self.contexts.append(context)
        return self.leader


def serve(waiter: Waiter, request: bytes) -> None:
    waiter.reply(request)


def nothing() -> None: ...


def test_one_round_serves_all_that_waited_for_it() -> None:
    rounds, ask, readers = ReadRounds(50, 5.0), Asked(), [Reader(), Reader()]
    for reader in readers:
        rounds.add(serve, reader, b"r")
    rounds.begin(0.0, ask)
    assert ask.contexts == [50]
    rounds.confirm(50, 10)
    rounds.serve(9, nothing)
    assert readers[0].told == []
    rounds.serve(10, nothing)
    assert [reader.told for reader in readers] == [[b"r"], [b"r"]]


def test_a_read_that_comes_during_a_round_is_of_another() -> None:
    rounds, ask = ReadRounds(50, 5.0), Asked()
    readers = [Reader() for _ in range(ROUNDS_MAX + 1)]
    for reader in readers:
        rounds.add(serve, reader, b"r")
        rounds.begin(0.0, ask)
    assert ask.contexts == list(range(50, 50 + ROUNDS_MAX)), "so many are under way"
    assert rounds.count == ROUNDS_MAX + 1
    rounds.confirm(50, 1)
    rounds.serve(5, nothing)
    assert [bool(reader.told) for reader in readers] == [True] + [False] * ROUNDS_MAX
    rounds.begin(0.2, ask)
    rounds.confirm(50 + ROUNDS_MAX, 5)
    rounds.serve(5, nothing)
    assert all(reader.told for reader in readers), "a later answer is good for earlier reads"
    assert rounds.count == 0


def test_answers_leave_while_others_are_made() -> None:
    rounds, ask, sent = ReadRounds(50, 5.0), Asked(), []
    readers = [Reader() for _ in range(2 * SENT_TOGETHER + 1)]
    for reader in readers:
        rounds.add(serve, reader, b"r")
    rounds.begin(0.0, ask)
    rounds.confirm(50, 1)
    rounds.serve(1, lambda: sent.append(sum(bool(reader.told) for reader in readers)))
    assert sent == [SENT_TOGETHER, 2 * SENT_TOGETHER, 2 * SENT_TOGETHER + 1]


def test_answers_to_other_questions_are_ignored() -> None:
    rounds, ask, reader = ReadRounds(50, 5.0), Asked(), Reader()
    rounds.add(serve, reader, b"r")
    rounds.begin(0.0, ask)
    rounds.confirm(49, 1)
    rounds.serve(100, nothing)
    assert reader.told == []


def test_a_lost_question_is_asked_again_and_any_of_its_answers_is_good() -> None:
    rounds, ask, reader = ReadRounds(50, 5.0), Asked(), Reader()
    rounds.add(serve, reader, b"r")
    rounds.begin(0.0, ask)
    rounds.tick(RETRY_S, ask)
    assert ask.contexts == [50, 51]
    rounds.confirm(50, 3)
    rounds.confirm(51, 4)
    rounds.serve(3, nothing)
    assert reader.told == [b"r"]


def test_reads_without_leader_wait_and_then_hear_so() -> None:
    rounds, ask, reader = ReadRounds(50, 5.0), Asked(), Reader()
    ask.leader = False
    rounds.add(serve, reader, b"r")
    rounds.begin(1.0, ask)
    rounds.tick(5.9, ask)
    assert reader.told == []
    rounds.tick(6.0, ask)
    assert reader.told == [ERRORS[ErrorCode.NO_LEADER][1]]


def test_a_round_that_is_never_applied_times_out() -> None:
    rounds, ask, reader = ReadRounds(50, 5.0), Asked(), Reader()
    rounds.add(serve, reader, b"r")
    rounds.begin(0.0, ask)
    rounds.confirm(50, 1000)
    rounds.tick(5.0, ask)
    assert reader.told == [ERRORS[ErrorCode.TIMEOUT_WAIT_APPLIED_INDEX][1]]


def test_stopping_fails_every_read() -> None:
    rounds, ask = ReadRounds(50, 5.0), Asked()
    readers = [Reader(), Reader(), Reader()]
    rounds.add(serve, readers[0], b"r")
    rounds.begin(0.0, ask)
    rounds.confirm(50, 9)
    rounds.add(serve, readers[1], b"r")
    rounds.begin(0.0, ask)
    rounds.add(serve, readers[2], b"r")
    rounds.close()
    assert [reader.told for reader in readers] == [[ERRORS[ErrorCode.STOPPED][1]]] * 3
