"""How fast a snapshot is sent: as fast as the leader's own work does not notice.

What a transfer costs depends on what else the processor, the disk and the network have to do, so it
is not computed but tried: after each second of sending, nothing is sent for a moment, and how long
commits take in the one is compared with the other. If sending makes them clearly slower the rate is
halved, else it grows, between a floor and what is configured.

The floor sees to it that a transfer ends. What the log may hold meanwhile is bounded, too: where
that comes near, a transfer that is not clearly further on its way goes at full speed.
"""

from __future__ import annotations

from raftkv.server.commit_latency import CommitLatency

__all__ = ["SnapshotPace"]

FLOOR = 1 / 4
"""Of the configured rate; what is sent at least."""

SENDING_S = 1.0
"""How long is sent between two moments of rest."""

REST_S = 0.15
"""How long a rest is."""

SLOWER = 1.15
"""Commits that take so many times as long as at rest are slowed by the transfer."""

GROWTH = 1.25
"""By what the rate grows where there is slack."""

SAMPLES_MIN = 8
"""Of fewer commits nothing is concluded: there is little that could be slowed."""

RESTS_REMEMBERED = 4
"""What is usual at rest is the mean of about so many rests."""

LOG_LEAD = 2.0
"""A transfer shall be so many times as far as the log is on its way to its bound."""

LOG_SHARE_MIN = 1 / 4
"""Nearer its bound than this the log must be before that counts: from there full speed will do."""

BEHIND_S_MAX = 0.5
"""What was not sent in time is made up for, up to so much."""


class SnapshotPace:
    """The pace of one transfer. Knows no clock: all times are arguments, in seconds."""

    def __init__(self, bytes_per_s_max: int, latency: CommitLatency, now: float) -> None:
        """Begin at the floor; `latency` is that of the member's own commits."""
        self.bytes_per_s = bytes_per_s_max * FLOOR
        self._floor = bytes_per_s_max * FLOOR
        self._max = float(bytes_per_s_max)
        self._latency = latency
        self._quiet_s = 0.0
        """Mean latency at rest; 0: not known."""
        self._is_resting = False
        self._sums = {False: (0, 0.0), True: (0, 0.0)}
        """Commits and their latency, while sending and at rest."""
        self._begin(now)

    @property
    def slowdown(self) -> float:
        """How many times as long commits took while sending as they did at rest; 0: not known."""
        (count, total_s), (rests, rest_s) = self._sums[False], self._sums[True]
        return total_s / count * rests / rest_s if count and rest_s else 0.0

    def _begin(self, now: float) -> None:
        """A stretch of sending, or a rest, begins."""
        self._since = self._due = now
        self._count, self._total_s = self._latency.count, self._latency.total_s

    def sent(self, size_bytes: int, sent_share: float, log_share: float, now: float) -> float:
        """Take note of a chunk; returns for how many seconds nothing is to be sent now.

        `sent_share` says how far the transfer is, `log_share` how near the log is to its bound,
        both of 1. After the wait, `resumed` is to be called.
        """
        if log_share > LOG_SHARE_MIN and log_share * LOG_LEAD > sent_share:
            self.bytes_per_s = self._max
            return 0.0
        if now - self._since >= SENDING_S:
            self._adapt()
            self._begin(now)
            self._is_resting = True
            return REST_S
        self._due = max(self._due + size_bytes / self.bytes_per_s, now - BEHIND_S_MAX)
        return max(0.0, self._due - now)

    def resumed(self, now: float) -> None:
        """Take note that the wait is over."""
        if not self._is_resting:
            return
        mean_s = self._end()
        if mean_s:
            weight = 1 / RESTS_REMEMBERED if self._quiet_s else 1.0
            self._quiet_s += (mean_s - self._quiet_s) * weight
        self._is_resting = False
        self._begin(now)

    def _end(self) -> float:
        """Return the mean latency of the stretch that ends; 0: too few commits to say."""
        count = self._latency.count - self._count
        total_s = self._latency.total_s - self._total_s
        before, before_s = self._sums[self._is_resting]
        self._sums[self._is_resting] = before + count, before_s + total_s
        return total_s / count if count >= SAMPLES_MIN else 0.0

    def _adapt(self) -> None:
        """Judge a stretch of sending."""
        mean_s = self._end()
        if mean_s and self._quiet_s and mean_s > self._quiet_s * SLOWER:
            self.bytes_per_s = max(self.bytes_per_s / 2, self._floor)
        else:
            self.bytes_per_s = min(self.bytes_per_s * GROWTH, self._max)
