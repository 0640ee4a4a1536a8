"""The log's beginning is cut by its writer while the core reads it."""

from __future__ import annotations

import random
import threading
from pathlib import Path

from raftkv._native.log_store import LogStore
from raftkv.raft.config import RaftConfig
from raftkv.raft.errors import LogCompacted
from raftkv.raft.messages import Entry, EntryKind, HardState, Message, MessageType
from raftkv.raft.node import RaftNode
from raftkv.testing.driven_node import THREE, Driven
from raftkv.testing.memory_log import MemoryLog

ENTRIES = 3000


def test_a_reader_gets_entries_or_hears_that_they_are_gone(tmp_path: Path) -> None:
    log = LogStore(str(tmp_path / "log"))
    log.append(
        [Entry(1, i, EntryKind.NORMAL, bytes(8000)) for i in range(1, ENTRIES + 1)],
        HardState(1, 0, 0),
    )
    failures: list[Exception] = []

    def cut() -> None:
        try:
            for index in range(20, ENTRIES, 20):
                log.truncate_prefix(index)
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=cut)
    thread.start()
    reads = gone = 0
    while thread.is_alive():
        lo = log.first_index
        try:
            found = log.entries(lo, min(lo + 20, ENTRIES + 1), 1 << 30)
            assert [entry.index for entry in found] == list(range(lo, lo + len(found)))
            reads += 1
        except LogCompacted:
            gone += 1
    thread.join()
    log.close()
    assert failures == []
    assert reads + gone > 10


class CutLog(MemoryLog):
    """Says that it is whole, and is cut as soon as somebody reads it."""

    cut_at = 0

    def entries(self, lo: int, hi: int, bytes_max: int) -> list[Entry]:
        if self.cut_at:
            self.truncate_prefix(self.cut_at)
        return super().entries(lo, hi, bytes_max)


def test_a_leader_whose_log_is_cut_offers_a_snapshot_instead() -> None:
    log = CutLog()
    log.append([Entry(1, i, EntryKind.NORMAL, b"x") for i in range(1, 11)], HardState(1, 0, 10))
    driven = Driven()
    driven.log = log
    driven.node = RaftNode(RaftConfig(id=1), THREE, log, log.hard_state(), 10, random.Random(1))
    driven.lead()
    driven.sent.clear()
    log.cut_at = 8
    driven.node.step(
        Message(MessageType.APPEND_RESPONSE, 1, 3, 2, 1, 10, reject=True, reject_hint=4)
    )
    driven.sync()
    assert [m.to for m in driven.drain(MessageType.SNAPSHOT)] == [3]
