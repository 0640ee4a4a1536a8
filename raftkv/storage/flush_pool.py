"""The thread that writes the state, with its times."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

__all__ = ["FlushPool"]

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

DURATIONS_MAX = 8192
"""Durations kept for the metrics between two scrapes; older ones are forgotten."""


class FlushPool(ThreadPoolExecutor):
    """One thread; give this to `MvccStore` as its `flush_pool`."""

    def __init__(self) -> None:
        super().__init__(1, thread_name_prefix="raftkv-flush")
        self.durations_s: deque[float] = deque(maxlen=DURATIONS_MAX)
        """How long the latest writes took, oldest first; whoever reads may take them out."""

    def submit(
        self,
        work: Callable[Parameters, Result],
        /,
        *args: Parameters.args,
        **keywords: Parameters.kwargs,
    ) -> Future[Result]:
        """Run `work` in the thread, after what was submitted before."""

        def timed() -> Result:
            started = time.perf_counter()
            try:
                return work(*args, **keywords)
            finally:
                self.durations_s.append(time.perf_counter() - started)

        return super().submit(timed)
