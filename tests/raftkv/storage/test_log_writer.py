"""The writer thread, on a real log and on one that fails."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from raftkv._native.log_store import LogStore
from raftkv.raft.messages import Entry, EntryKind, HardState
from raftkv.raft.ready import PersistWork
from raftkv.storage.log_writer import LogWriter


def work(index: int) -> PersistWork:
    return PersistWork(HardState(1, 0, index), (Entry(1, index, EntryKind.NORMAL, b"data"),))


async def test_works_are_done_in_order_and_called_back_on_the_loop(tmp_path: Path) -> None:
    store = LogStore(str(tmp_path))
    failed: list[Exception] = []
    writer = LogWriter(store, asyncio.get_running_loop(), failed.append)
    done: list[tuple[str, int]] = []
    finished = asyncio.Event()
    for index in (1, 2, 3):
        writer.submit(work(index), lambda index=index: done.append(("synced", index)))  # type: ignore[misc]
    writer.truncate_prefix(2, finished.set)
    async with asyncio.timeout(10):
        await finished.wait()
    writer.close()
    writer.close()
    assert done == [("synced", 1), ("synced", 2), ("synced", 3)]
    assert (store.first_index, store.last_index) == (3, 3)
    assert len(writer.sync_durations_s) == 3
    assert failed == []
    with pytest.raises(RuntimeError):
        writer.submit(work(4), lambda: None)
    store.close()


async def test_the_first_error_is_fatal_and_ends_all_writing() -> None:
    written: list[int] = []

    class FailingLog:
        wants_spare = False

        def make_spare(self) -> None:
            raise AssertionError

        def append(self, entries: tuple[Entry, ...], hard_state: HardState | None) -> None:
            if len(written) == 1:
                raise OSError(5, "the disk broke")
            written.append(entries[0].index)

        def begin_append(self, entries: tuple[Entry, ...], hard_state: HardState | None) -> None:
            raise AssertionError

        def end_append(self) -> None:
            raise AssertionError

        def truncate_prefix(self, index: int) -> None:
            raise AssertionError

        def reset(self, index: int, term: int, hard_state: HardState | None) -> None:
            raise AssertionError

    failed: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
    writer = LogWriter(FailingLog(), asyncio.get_running_loop(), failed.set_result)
    called: list[int] = []
    for index in (1, 2, 3):
        writer.submit(work(index), lambda index=index: called.append(index))  # type: ignore[misc]
    async with asyncio.timeout(10):
        error = await failed
    writer.close()
    await asyncio.sleep(0)
    assert isinstance(error, OSError)
    assert (written, called) == ([1], [1])


class TimedLog:
    """A log whose syncs take as long as it is told."""

    wants_spare = False

    def __init__(self) -> None:
        self.now_s = 0.0
        self.sync_s = 0.0001
        self.written: list[int] = []

    def append(self, entries: tuple[Entry, ...], hard_state: HardState | None) -> None:
        self.now_s += self.sync_s
        self.written.append(entries[0].index)

    def begin_append(self, entries: tuple[Entry, ...], hard_state: HardState | None) -> None:
        self.begun = entries

    def end_append(self) -> None:
        self.append(self.begun, None)

    def truncate_prefix(self, index: int) -> None:
        raise AssertionError

    def reset(self, index: int, term: int, hard_state: HardState | None) -> None:
        raise AssertionError

    def make_spare(self) -> None:
        raise AssertionError


async def test_the_loop_itself_writes_what_is_small_while_the_disk_is_quick(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = TimedLog()
    monkeypatch.setattr("raftkv.storage.log_writer.time.perf_counter", lambda: log.now_s)
    failed: list[Exception] = []
    writer = LogWriter(log, asyncio.get_running_loop(), failed.append)
    assert writer.is_quick(work(1))
    writer.write(work(1))
    large = PersistWork(None, (Entry(1, 2, EntryKind.NORMAL, bytes(1 << 20)),))
    assert not writer.is_quick(large)
    done = asyncio.Event()
    writer.submit(large, done.set)
    assert not writer.is_quick(work(3)), "what is under way comes first"
    await done.wait()
    assert writer.is_quick(work(3))
    log.sync_s = 0.02
    writer.write(work(3))
    assert not writer.is_quick(work(4)), "one slow sync is enough"
    log.sync_s = 0.0001
    for index in range(4, 40):
        done.clear()
        writer.submit(work(index), done.set)
        await done.wait()
    assert writer.is_quick(work(40)), "the disk has recovered"
    writer.begin(work(40))
    log.now_s += 10.0  # what the caller did meanwhile
    with pytest.raises(AssertionError, match="two writes"):
        writer.submit(work(41), done.set)
    writer.end()
    assert writer.is_quick(work(41)), "it was not the disk that was slow"
    writer.begin(work(41))
    log.sync_s = 0.02
    writer.end()
    assert not writer.is_quick(work(42))
    writer.close()
    assert log.written == list(range(1, 42))
    assert not failed
