"""Typed surface of the load generator; `bench.generator` is what to use."""

from array import array
from collections.abc import Sequence
from typing import final

from bench.native.histogram import Histogram
from bench.operation import Operation

TRANSPORT: int
"""The code under which answers that never came are counted, among gRPC's codes in `errors`."""

@final
class Load:
    """One thread's load: sockets, calls and an epoll loop that runs without the GIL.

    `fds`: connected sockets, not blocking; `streams` calls are under way on each at most.
    `watch_fds`: sockets that carry streams of watches: each of `watch_requests`, framed messages,
    opens one, on the sockets in turn. `events_per_put`: how many watchers hear of each put; the run
    then ends when all have. `undelivered_max`: no put leaves while the events of that many puts are
    owed; 0: no such bound. `rate`: requests a second, each due at its own moment, or 0.0: closed
    loop, each call followed by the next. `table`: a number for every key (see `operation.Hole`),
    updated by answers. ValueError where arguments do not fit together.
    """

    def __init__(
        self,
        fds: Sequence[int],
        streams: int,
        operations: Sequence[Operation],
        *,
        order: str,
        space: int,
        stride: int,
        start: int,
        seed: int,
        rate: float,
        table: array[int],
        watch_fds: Sequence[int] = (),
        watch_requests: Sequence[bytes] = (),
        events_per_put: int = 0,
        undelivered_max: int = 0,
    ) -> None: ...
    def open(self, watches: int, timeout_s: float) -> None:
        """Begin HTTP/2 and wait until so many watches are there. TimeoutError; ConnectionError."""
    def run(self, duration_s: float, warm_up_s: float, count: int, drain_s: float) -> None:
        """Send for so long, or `count` requests (0: no bound), then wait up to `drain_s` for what
        is owed. What was due in the first `warm_up_s` is not recorded. Once only."""
    def close(self) -> None:
        """Release everything native; the sockets are the caller's."""
    def tally(self, operation: int) -> dict[str, int]:
        """issued, completed, recorded, refused (transactions whose compare failed, leases that are
        gone), keys, answer_bytes, request_bytes: of one operation."""
    def errors(self, operation: int) -> dict[int, int]:
        """gRPC code -> how many calls ended with it; TRANSPORT: reset, lost or never answered."""
    def latencies(self, operation: int) -> Histogram: ...
    def delivery_latencies(self) -> Histogram: ...
    @property
    def error_text(self) -> str:
        """The first error's text."""
    @property
    def window_s(self) -> float:
        """How long the recorded part took."""
    @property
    def unissued(self) -> int:
        """Requests that were due and never left, as everything was under way still."""
    @property
    def watch_tally(self) -> dict[str, int]:
        """created, cancelled, events, events_in_window, previous."""
    @property
    def lost_links(self) -> int: ...
    @property
    def revision(self) -> int:
        """The highest revision that an answer told."""
