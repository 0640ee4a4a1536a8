"""A flush that failed is heard by everyone who comes, not by the first alone."""

from __future__ import annotations

import errno
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pytest

from raftkv._native.mvcc_store import MvccStore
from raftkv.errors import StoreIOError


class _FailingPool(Executor):
    """A disk that takes nothing."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_exception(StoreIOError(errno.EIO, "the disk failed"))
        return future


def test_nobody_goes_on_after_a_failed_flush(tmp_path: Path) -> None:
    """Half a hand-over would be taken for a whole one by the second who looks."""
    store = MvccStore(str(tmp_path / "s"), cluster_id=1, member_id=2, flush_pool=_FailingPool())
    try:
        store.apply_empty(1, 1)
        store.maybe_flush(True)
        for _ in range(3):
            with pytest.raises(StoreIOError):
                store.maybe_flush(True)
        with pytest.raises(StoreIOError):
            store.flush()
        with pytest.raises(StoreIOError):
            store.snapshot_open()
    finally:
        store.close()
