"""Cut the power at any moment of a member's life: what was synced is there, nothing is wrong."""

from __future__ import annotations

import functools
import random
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raftkv._native.log_store import LogStore
from raftkv._native.mvcc_store_reference import MvccStoreReference
from raftkv.raft.log import must_reset
from raftkv.raft.messages import HardState
from raftkv.storage.data_dir import DataDirectory
from tests.raftkv.native.mvcc_store_driver import CLUSTER_ID, MEMBER_ID, MEMORY_DISK, Driver
from tests.raftkv.storage.faulty_disk import run_child
from tests.raftkv.storage.power_cut import Disk, Event, Kind, read_recording
from tests.raftkv.storage.power_cut_child import (
    LAST_INDEX,
    SEGMENT_BYTES,
    SNAPSHOT_INDEX,
    TERM,
    data_of,
    entry,
    open_state,
)

CUTS = 400
CUTS_SLOW = 3000


@pytest.fixture(scope="module")
def recording() -> Iterator[tuple[str, list[Event]]]:
    """One member's life: where it was, and everything that its disk was told."""
    with tempfile.TemporaryDirectory() as folder:  # on a disk: direct writes are made there
        root, outside = (Path(folder).resolve() / name for name in ("root", "outside"))
        root.mkdir()
        outside.mkdir()
        run_child("power_cut_child", str(root), str(outside))
        yield str(root), read_recording(str(outside / "recording"))


def picture(store: Any) -> list[Any]:
    driver = Driver(store)
    first = max(store.compact_revision, 0)
    return [
        store.revision,
        store.compact_revision,
        [kv.SerializeToString() for kv in driver.range().kvs],
        [kv.SerializeToString() for kv in driver.range(revision=max(first, 1)).kvs],
        store.events(first, 1 << 40, 1 << 40),
        store.lease_keys(1),
    ]


@functools.cache
def expected() -> list[list[Any]]:
    """What the twin in memory shows after each entry."""
    store = MvccStoreReference(cluster_id=CLUSTER_ID, member_id=MEMBER_ID)
    pictures = [picture(store)]
    for index in range(1, LAST_INDEX + 1):
        store.apply(index, TERM, data_of(index), False)
        pictures.append(picture(store))
    return pictures


def promised(marks: list[str]) -> tuple[int, int]:
    """Return the last index of the log and of the state that were reported as synced."""
    log, state = 0, 0
    for mark in marks:
        name, _, value = mark.partition(" ")
        if name == "log":
            log = int(value)
        elif name == "flushed":
            state = max(state, int(value))
    return log, state


def check_image(image: Path, marks: list[str]) -> None:
    """Open everything as a member does after a restart, and go on with the log's entries."""
    synced_log, synced_state = promised(marks)
    directory = DataDirectory.open(image / "data")
    log = LogStore(str(directory.log_path), SEGMENT_BYTES)
    store = open_state(str(directory.state_path))
    try:
        assert "identity" not in marks or log.get_metadata("member_id") == b"1"
        assert synced_state <= store.applied_index <= LAST_INDEX
        assert picture(store) == expected()[store.applied_index]
        if must_reset(log, store.applied_index, store.applied_term):
            assert "installing" in marks
            assert store.applied_index == SNAPSHOT_INDEX
            log.reset(store.applied_index, store.applied_term)
        assert log.last_index >= synced_log
        assert log.first_index <= store.applied_index + 1, "entries that a replay needs are gone"
        found = log.entries(log.first_index, log.last_index + 1, 1 << 40)
        assert found == [entry(index) for index in range(log.first_index, log.last_index + 1)]
        assert synced_log == 0 or log.hard_state().term == TERM
        for one in found:
            store.apply(one.index, TERM, one.data, False)
        assert store.applied_index >= max(synced_log, synced_state)
        assert picture(store) == expected()[store.applied_index]
        store.flush()
        following = entry(log.last_index + 1)
        log.append([following], HardState(TERM, 1, log.last_index))
    finally:
        store.close()
        log.close()
        directory.close()


def cut_power(recording: tuple[str, list[Event]], seed: int) -> None:
    root, events = recording
    chance = random.Random(seed)
    cut = chance.randrange(len(events) + 1)
    disk = Disk(root)
    for event in events[:cut]:
        disk.play(event)
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK) as folder:
        image = Path(folder) / "image"
        disk.write_image(image, chance)
        (image / "disk").mkdir(exist_ok=True)
        try:
            check_image(image / "disk", disk.marks)
        except Exception as error:
            kept = Path(tempfile.mkdtemp(prefix=f"power-cut-{seed}-"))
            shutil.copytree(image, kept / "image")
            error.add_note(f"seed {seed}, cut before event {cut}; the image is kept in {kept}")
            raise


def test_the_recording_has_all_that_is_to_be_cut(recording: tuple[str, list[Event]]) -> None:
    _, events = recording
    marks = [event.name for event in events if event.kind == Kind.MARK]
    assert promised(marks)[0] == LAST_INDEX
    assert "installing" in marks
    assert {event.kind for event in events} >= set(Kind) - {Kind.TRUNCATE}
    assert len(events) > 500
    log = [event for event in events if event.kind == Kind.WRITE and event.durable]
    blocks = [event for event in log if event.offset % 4096 == 0 == len(event.data) % 4096]
    assert len(blocks) > LAST_INDEX // 4, "the log is not written in blocks"


@pytest.mark.parametrize("part", range(4))
def test_a_power_cut_loses_nothing_that_was_synced(
    recording: tuple[str, list[Event]], part: int
) -> None:
    for seed in range(part * CUTS // 4, (part + 1) * CUTS // 4):
        cut_power(recording, seed)


@pytest.mark.slow
def test_thousands_of_power_cuts(recording: tuple[str, list[Event]]) -> None:
    for seed in range(1000, 1000 + CUTS_SLOW):
        cut_power(recording, seed)


def test_a_sync_that_does_nothing_is_noticed(recording: tuple[str, list[Event]]) -> None:
    """The test can fail: without the syncs of one file, some cut loses what was promised."""
    root, events = recording
    lying = [
        replace(event, durable=False) if event.kind == Kind.WRITE else event
        for event in events
        if event.kind != Kind.SYNC
    ]
    broken = 0
    for seed in range(20):
        try:
            cut_power((root, lying), seed)
        except Exception as error:
            broken += 1
            shutil.rmtree(str(error.__notes__[-1]).rsplit(" ", 1)[1])
    assert broken >= 5
