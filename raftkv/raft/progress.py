"""What a leader knows of one follower, and how much it may send to it.

Three states. PROBE: where the logs part is unknown; one APPEND at a time, the next after an answer
or a heartbeat's answer. REPLICATE: the follower accepts; APPENDs are pipelined, bounded in number
and bytes. SNAPSHOT: the log no longer has what the follower needs; nothing is sent until the
snapshot is there.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum


class ProgressState(IntEnum):
    """How a follower is being brought level."""

    PROBE = 0
    REPLICATE = 1
    SNAPSHOT = 2


PROBE = ProgressState.PROBE
REPLICATE = ProgressState.REPLICATE
"""Names for what is looked at several times a turn; see `messages.NORMAL`."""


class Progress:
    """One follower as its leader sees it. Invariant: 0 <= match_index < next_index."""

    __slots__ = (
        "asks_for_snapshot",
        "commit_sent",
        "inflight",
        "inflight_appends_max",
        "inflight_bytes",
        "inflight_bytes_max",
        "match_index",
        "next_index",
        "pending_snapshot",
        "probe_sent",
        "recent_active",
        "send_empty",
        "state",
    )

    def __init__(
        self, next_index: int, *, inflight_appends_max: int, inflight_bytes_max: int
    ) -> None:
        assert next_index >= 1
        self.match_index = 0
        """Highest index known to be durable there."""
        self.next_index = next_index
        """Where the next APPEND begins; in REPLICATE it runs ahead of the answers."""
        self.state = PROBE
        self.recent_active = False
        """Heard from since the last check of the quorum."""
        self.probe_sent = False
        """In PROBE: the one APPEND is out."""
        self.send_empty = False
        """An APPEND is due even with nothing to send, so that a lost one is noticed."""
        self.commit_sent = 0
        """Highest commit index told to the follower, if no message was lost."""
        self.asks_for_snapshot = False
        """It refused the very beginning of the log: it does not know its cluster yet."""
        self.pending_snapshot = 0
        """In SNAPSHOT: the index that the snapshot brings the follower to."""
        self.inflight: deque[tuple[int, int]] = deque()
        """Last index and bytes of each unanswered APPEND, oldest first."""
        self.inflight_bytes = 0
        self.inflight_appends_max = inflight_appends_max
        self.inflight_bytes_max = inflight_bytes_max

    def _become(self, state: ProgressState) -> None:
        self.state = state
        self.probe_sent = False
        self.pending_snapshot = 0
        self.inflight.clear()
        self.inflight_bytes = 0

    def become_probe(self) -> None:
        """Forget what is under way and ask where the logs part."""
        after_snapshot = self.pending_snapshot if self.state is ProgressState.SNAPSHOT else 0
        self._become(PROBE)
        self.next_index = max(self.match_index, after_snapshot) + 1
        self.send_empty = True

    def become_replicate(self) -> None:
        """Pipeline from the entry after the match."""
        self._become(REPLICATE)
        self.next_index = self.match_index + 1

    def become_snapshot(self, index: int) -> None:
        """Wait for a snapshot at `index`."""
        self._become(ProgressState.SNAPSHOT)
        self.pending_snapshot = index

    def is_paused(self) -> bool:
        """Say whether no APPEND may be sent now."""
        if self.state is REPLICATE:
            return (
                len(self.inflight) >= self.inflight_appends_max
                or self.inflight_bytes >= self.inflight_bytes_max
            )
        return self.state is ProgressState.SNAPSHOT or self.probe_sent

    def sent(self, last_index: int, size_bytes: int, commit: int) -> None:
        """Note an APPEND; `size_bytes` 0 means that it was empty."""
        self.send_empty = False
        self.commit_sent = commit
        if self.state is REPLICATE:
            if size_bytes:
                self.next_index = last_index + 1
                self.inflight.append((last_index, size_bytes))
                self.inflight_bytes += size_bytes
        else:
            self.probe_sent = True

    def accepted(self, index: int) -> bool:
        """Note that the follower holds everything up to `index`; False if that is old news."""
        while self.inflight and self.inflight[0][0] <= index:
            self.inflight_bytes -= self.inflight.popleft()[1]
        self.next_index = max(self.next_index, index + 1)
        if index <= self.match_index:
            return False
        self.match_index = index
        self.probe_sent = False
        self.asks_for_snapshot = False
        return True

    def rejected(self, index: int, next_probe: int) -> bool:
        """Note that an APPEND after `index` was refused; False if the refusal is stale.

        `next_probe` is the highest index at which the logs may still agree.
        """
        if self.state is REPLICATE:
            if index <= self.match_index:
                return False
            self.become_probe()
            return True
        if self.state is ProgressState.SNAPSHOT or self.next_index - 1 != index:
            return False
        self.asks_for_snapshot = index == 0
        self.next_index = max(min(index, next_probe + 1), self.match_index + 1)
        self.probe_sent = False
        self.send_empty = True
        return True

    def heartbeat_answered(self, last_index: int) -> None:
        """Note that the follower is alive; whatever is missing there may have been lost."""
        self.probe_sent = False
        if self.match_index < last_index or self.state is PROBE:
            self.send_empty = True
            if self.state is REPLICATE and self.is_paused():
                # A full window whose answers were lost would otherwise stay full for ever.
                self.inflight_bytes -= self.inflight.popleft()[1]
