"""The metrics of the network between members, and the probes that time it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from raftkv.distribution import Distribution
from raftkv.metrics import Family, counter, gauge, histogram
from raftkv.peer.errors import PeerError
from raftkv.server.member import Member

__all__ = ["NetworkMetrics"]

PROBE_INTERVAL_S = 5.0
PROBE_TIMEOUT_S = 3.0
ROUND_TRIP_BOUNDS_S = tuple(0.0001 * 2**power for power in range(16))
"""As in etcd: 0.1 ms, doubled fifteen times."""


class NetworkMetrics:
    """What passes between this member and the others."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._round_trips: dict[int, Distribution] = {}
        self._was_connected: dict[int, bool] = {}
        self._disconnections: dict[int, int] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to time round trips."""
        self._task = asyncio.create_task(self._probe_often(), name="round-trip probes")

    def close(self) -> None:
        """Stop timing."""
        if self._task is not None:
            self._task.cancel()

    async def _probe_often(self) -> None:
        while True:
            peers = self._peers()
            self._watch_connections(peers)
            await asyncio.gather(*(self._probe(peer) for peer in peers))
            await asyncio.sleep(PROBE_INTERVAL_S)

    async def _probe(self, peer: int) -> None:
        """Time one request that the other side answers at once."""
        began = time.perf_counter()
        try:
            await self._member.transport.request(peer, "probe", b"", PROBE_TIMEOUT_S)
        except PeerError:
            return
        times = self._round_trips.setdefault(peer, Distribution(ROUND_TRIP_BOUNDS_S))
        times.observe(time.perf_counter() - began)

    def _watch_connections(self, peers: list[int]) -> None:
        for peer in peers:
            connected = self._member.transport.is_connected(peer)
            if self._was_connected.get(peer) and not connected:
                self._disconnections[peer] = self._disconnections.get(peer, 0) + 1
            self._was_connected[peer] = connected

    def _peers(self) -> list[int]:
        member = self._member
        return [one for one in member.membership.ids if one != member.id]

    def families(self) -> Iterator[Family]:
        """Yield what is known now."""
        local = f"{self._member.id:x}"
        transport = self._member.transport
        peers = self._peers()
        self._watch_connections(peers)
        active = gauge("etcd_network_active_peers", "Whether a peer is connected.")
        known = gauge("etcd_network_known_peers", "The peers that there are.")
        lost = counter(
            "etcd_network_disconnected_peers_total",
            "Connections found lost, looked for every few seconds.",
        )
        sent = counter("etcd_network_peer_sent_bytes_total", "Bytes sent to a peer.")
        received = counter("etcd_network_peer_received_bytes_total", "Bytes received from a peer.")
        failures = counter(
            "etcd_network_peer_sent_failures_total",
            "Turns in which messages to a peer were lost for want of a connection or of room.",
        )
        times = histogram(
            "etcd_network_peer_round_trip_time_seconds", "Time until a peer answers a probe."
        )
        for peer in peers:
            remote = f"{peer:x}"
            active.add(transport.is_connected(peer), Local=local, Remote=remote)
            known.add(1, Local=local, Remote=remote)
            lost.add(self._disconnections.get(peer, 0), Local=local, Remote=remote)
            sent.add(transport.sent_bytes(peer), To=remote)
            received.add(transport.received_bytes(peer), From=remote)
            failures.add(transport.losses.get(peer, 0), To=remote)
            times.add_distribution(
                self._round_trips.get(peer, Distribution(ROUND_TRIP_BOUNDS_S)), To=remote
            )
        yield from (active, known, lost, sent, received, failures, times)
        yield from self._snapshots()

    def _snapshots(self) -> Iterator[Family]:
        sender, receiver = self._member.snapshots, self._member.received
        name = "etcd_network_snapshot_"
        success = counter(name + "send_success", "Snapshots sent.")
        failures = counter(name + "send_failures", "Snapshots given up.")
        for (follower, ok), count in sender.outcomes.items():
            (success if ok else failures).add(count, To=f"{follower:x}")
        sending = gauge(name + "send_inflights_total", "Snapshots being sent.")
        for follower in sender.followers:
            sending.add(1, To=f"{follower:x}")
        times = histogram(name + "send_total_duration_seconds", "Time to send one.")
        for follower, taken in sender.durations.items():
            times.add_distribution(taken, To=f"{follower:x}")
        yield from (success, failures, sending, times)
        installed = counter(name + "receive_success", "Snapshots received and installed.")
        receiving = gauge(name + "receive_inflights_total", "Snapshots being received.")
        times = histogram(
            name + "receive_total_duration_seconds", "Time from the first chunk to installation."
        )
        for peer, taken in receiver.durations.items():
            installed.add(sum(taken.counts), From=f"{peer:x}")
            times.add_distribution(taken, From=f"{peer:x}")
        if receiver.sender:
            receiving.add(1, From=f"{receiver.sender:x}")
        yield from (installed, receiving, times)
        yield gauge(
            "etcd_server_snapshot_apply_in_progress_total",
            "1 while a received snapshot is being installed.",
            receiver.is_installing,
        )
