"""/debug: what this process is doing, in the places where etcd's profiles are.

Some of Go's profiles have an honest counterpart: samples of all threads' stacks (`profile`; what
waits is seen as well), stacks of all tasks and threads (`goroutine`), memory by place of allocation
(`heap`). The text is for people; `profile` has one line a stack with its count, which flame graph
tools read. C code without the interpreter, such as a flush, is not seen inside.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from traceback import format_stack, walk_stack
from types import FrameType

from raftkv.rpc.http_exchange import Answer, Headers, Query
from raftkv.rpc.http_routes import HttpRoutes

__all__ = ["register_profiles", "register_variables"]

TEXT = "text/plain; charset=utf-8"
PROFILE_S_MAX = 60.0
SAMPLE_INTERVAL_S = 0.01
STACK_DEPTH_MAX = 128
HEAP_ROWS = 100
HEAP_TRACE_S_MAX = 60.0

INDEX = """\
profiles of this process

/debug/pprof/profile?seconds=10   stacks seen, one a line with its count (for flame graphs)
/debug/pprof/goroutine            stacks of all tasks and threads
/debug/pprof/heap?seconds=10      memory allocated during that time and still held, by place
/debug/pprof/cmdline              how the process was started

There is no counterpart to allocs, block, mutex, threadcreate, trace and symbol.
"""


def register_variables(routes: HttpRoutes) -> None:
    """Add /debug/vars."""
    routes.add("/debug/vars", _variables)


def register_profiles(routes: HttpRoutes) -> None:
    """Add /debug/pprof/; they show code and cost time, so only who may ask for them."""
    profiles = Profiles()
    routes.add("/debug/pprof", _index)
    routes.add("/debug/pprof/profile", profiles.processor)
    routes.add("/debug/pprof/goroutine", _stacks)
    routes.add("/debug/pprof/heap", profiles.heap)
    routes.add("/debug/pprof/cmdline", _command_line)
    routes.add("/debug/pprof/", _index)


async def _variables(
    _method: str, _path: str, _query: Query, _headers: Headers, _body: bytes
) -> Answer:
    """Go's expvar: the command line and figures of memory, those that Python has."""
    import gc
    import resource

    usage = resource.getrusage(resource.RUSAGE_SELF)
    variables = {
        "cmdline": sys.argv,
        "memstats": {
            "Sys": usage.ru_maxrss * 1024,
            "NumGC": sum(generation["collections"] for generation in gc.get_stats()),
            "HeapObjects": sum(gc.get_count()),
        },
        "threads": threading.active_count(),
        "tasks": len(asyncio.all_tasks()),
    }
    return 200, "application/json; charset=utf-8", json.dumps(variables).encode()


async def _index(_method: str, path: str, _query: Query, _headers: Headers, _body: bytes) -> Answer:
    if path.rstrip("/") != "/debug/pprof":
        return 404, TEXT, b"no such profile here; see /debug/pprof/\n"
    return 200, TEXT, INDEX.encode()


async def _command_line(
    _method: str, _path: str, _query: Query, _headers: Headers, _body: bytes
) -> Answer:
    return 200, TEXT, "\0".join(sys.argv).encode()


async def _stacks(
    _method: str, _path: str, _query: Query, _headers: Headers, _body: bytes
) -> Answer:
    parts = []
    for task in sorted(asyncio.all_tasks(), key=lambda one: one.get_name()):
        frames = "".join(
            f"  {frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}\n"
            for frame in task.get_stack()
        )
        parts.append(f"task {task.get_name()}\n{frames}")
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        parts.append(f"thread {names.get(ident, ident)}\n" + "".join(format_stack(frame)))
    return 200, TEXT, "\n".join(parts).encode()


class Profiles:
    """Profiles that take time; one of each kind at once."""

    def __init__(self) -> None:
        self._busy = asyncio.Lock()

    async def processor(
        self, _method: str, _path: str, query: Query, _headers: Headers, _body: bytes
    ) -> Answer:
        """Sample the stacks of all threads for `?seconds=` (30, as Go has it)."""
        seconds = _seconds(query, 30.0, PROFILE_S_MAX)
        if seconds is None:
            return 400, TEXT, b"seconds: want a number above 0\n"
        if self._busy.locked():
            return 503, TEXT, b"a profile is being taken\n"
        async with self._busy:
            sampler = Sampler(seconds)
            await asyncio.get_running_loop().run_in_executor(None, sampler.run)
        return 200, TEXT, sampler.text().encode()

    async def heap(
        self, _method: str, _path: str, query: Query, _headers: Headers, _body: bytes
    ) -> Answer:
        """Trace allocations for `?seconds=` (1), which slows everything down meanwhile."""
        seconds = _seconds(query, 1.0, HEAP_TRACE_S_MAX)
        if seconds is None:
            return 400, TEXT, b"seconds: want a number above 0\n"
        if self._busy.locked():
            return 503, TEXT, b"a profile is being taken\n"
        async with self._busy:
            tracemalloc.start(8)
            try:
                await asyncio.sleep(seconds)
                snapshot = tracemalloc.take_snapshot()
                held, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
        rows = [str(row) for row in snapshot.statistics("lineno")[:HEAP_ROWS]]
        head = f"{held} bytes allocated in {seconds:g} s and still held; at most {peak}"
        return 200, TEXT, "\n".join([head, *rows, ""]).encode()


class Sampler:
    """Counts the stacks that are seen, from a thread of its own."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._stacks: Counter[tuple[str, ...]] = Counter()

    def run(self) -> None:
        """Look at all other threads until the time is over. Blocks."""
        own = threading.get_ident()
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        end = time.monotonic() + self._seconds
        while time.monotonic() < end:
            for ident, frame in sys._current_frames().items():
                if ident != own:
                    stack = _places(frame)
                    self._stacks[(names.get(ident, str(ident)), *stack)] += 1
            time.sleep(SAMPLE_INTERVAL_S)

    def text(self) -> str:
        """Return `thread;outermost;...;innermost count`, the most seen first."""
        rows = self._stacks.most_common()
        return "".join(f"{';'.join(stack)} {count}\n" for stack, count in rows)


def _places(frame: FrameType) -> Sequence[str]:
    places = [
        f"{one.f_globals.get('__name__', '?')}.{one.f_code.co_qualname}:{line}"
        for one, line in walk_stack(frame)
    ]
    return places[:STACK_DEPTH_MAX][::-1]


def _seconds(query: Query, default: float, most: float) -> float | None:
    text = query.get("seconds", [str(default)])[-1]
    try:
        seconds = float(text)
    except ValueError:
        return None
    return min(seconds, most) if seconds > 0 else None
