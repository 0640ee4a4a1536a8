"""The pace of a snapshot's transfer follows what it does to the leader's commits."""

from __future__ import annotations

from raftkv.server.commit_latency import SAMPLE_S_MAX, CommitLatency
from raftkv.server.snapshot_pace import FLOOR, SnapshotPace

MAX = 16 << 20
CHUNK = 1 << 20
QUIET_S = 0.002


class Transfer:
    """A transfer on a clock of its own; commits take as long as a test says."""

    def __init__(self, commits_per_s: float = 100) -> None:
        self.now = 0.0
        self.latency = CommitLatency()
        self.pace = SnapshotPace(MAX, self.latency, 0.0)
        self.sent_bytes = 0
        self._commits_per_s = commits_per_s
        self._index = 0
        self._committed_s = 0.0

    def run(self, seconds: float, *, sending_s: float, log_share: float = 0.0) -> float:
        """Send for so long; commits take `sending_s` meanwhile. Returns the bytes a second."""
        began, sent_bytes = self.now, self.sent_bytes
        while self.now < began + seconds:
            self._pass(0.001, sending_s)
            self.sent_bytes += CHUNK
            wait_s = self.pace.sent(CHUNK, 0.1, log_share, self.now)
            self._pass(wait_s, QUIET_S if self.pace._is_resting else sending_s)
            self.pace.resumed(self.now)
        return (self.sent_bytes - sent_bytes) / (self.now - began)

    def _pass(self, seconds: float, latency_s: float) -> None:
        end = self.now + seconds
        while self._committed_s < end:
            self._index += 1
            self.latency.proposed(self._index, self._committed_s)
            self.latency.committed(self._index, self._committed_s + latency_s)
            self._committed_s += 1 / self._commits_per_s
        self.now = end


def test_a_transfer_that_nobody_notices_goes_at_the_configured_rate() -> None:
    transfer = Transfer()
    first = transfer.run(1, sending_s=QUIET_S)
    assert first < MAX * FLOOR * 1.5
    transfer.run(20, sending_s=QUIET_S)
    assert transfer.pace.bytes_per_s == MAX
    assert MAX * 0.8 < transfer.run(10, sending_s=QUIET_S) <= MAX


def test_a_transfer_that_slows_commits_yields_down_to_the_floor() -> None:
    transfer = Transfer()
    transfer.run(20, sending_s=QUIET_S)
    transfer.run(5, sending_s=QUIET_S * 1.5)
    assert transfer.pace.bytes_per_s == MAX * FLOOR
    assert transfer.run(10, sending_s=QUIET_S * 1.5) > MAX * FLOOR * 0.7
    assert 1.1 < transfer.pace.slowdown < 1.5
    transfer.run(20, sending_s=QUIET_S * 1.1)
    assert transfer.pace.bytes_per_s == MAX


def test_where_little_is_committed_nothing_is_slowed() -> None:
    transfer = Transfer(commits_per_s=3)
    transfer.run(20, sending_s=QUIET_S * 10)
    assert transfer.pace.bytes_per_s == MAX


def test_the_bound_of_the_log_goes_before_the_commits() -> None:
    """The log is half full, the transfer a tenth of the way."""
    transfer = Transfer()
    transfer.run(5, sending_s=QUIET_S * 2)
    assert transfer.pace.bytes_per_s == MAX * FLOOR
    assert transfer.run(1, sending_s=QUIET_S * 2, log_share=0.5) > MAX


def test_latency_is_sampled_one_entry_at_a_time() -> None:
    latency = CommitLatency()
    latency.proposed(5, 1.0)
    latency.proposed(6, 1.1)
    latency.committed(4, 1.2)
    assert latency.count == 0
    latency.committed(6, 1.5)
    assert (latency.count, latency.total_s) == (1, 0.5)
    latency.committed(7, 1.6)
    assert latency.count == 1


def test_an_entry_that_is_never_committed_ends_its_sample() -> None:
    latency = CommitLatency()
    latency.proposed(5, 1.0)
    latency.proposed(6, 1.0 + SAMPLE_S_MAX)
    assert (latency.count, latency.total_s) == (1, SAMPLE_S_MAX)
    latency.committed(6, 2.5)
    assert latency.count == 2
