"""Hash a member's state without stopping its loop."""

from __future__ import annotations

import asyncio
from typing import Protocol

from raftkv._native.mvcc_history import StateHash

RECORDS_PER_STEP = 1000
"""Versions hashed between two turns of the loop: about a millisecond."""


class HashableState(Protocol):
    """What is needed of a store; `MvccStore` is one."""

    def hash_begin(self, revision: int) -> StateHash: ...
    def hash_step(self, work: StateHash, records_max: int) -> bool: ...


async def hash_state(store: HashableState, revision: int) -> tuple[int, int, int]:
    """Return what `MvccStore.hash_kv` does, in steps. Raises StoreError as that does."""
    work = store.hash_begin(revision)
    while not store.hash_step(work, RECORDS_PER_STEP):  # noqa: ASYNC110 -- a step is work, no wait
        await asyncio.sleep(0)
    return work.value, work.compact_revision, work.revision
