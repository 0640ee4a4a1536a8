"""What a lease promises: its keys stay for a TTL after a successful renewal, and then they go.

The first is checked at every end of a lease that nobody asked for; the second whenever the cluster
was left in peace for long enough, because a new leader gives leases that were renewed lately their
whole TTL again, and all leases an election timeout more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import cast

from raftkv.pb.etcd import rpc_pb2
from raftkv.testing.history import Operation, Outcome, Violation
from raftkv.testing.kv_model import KeyValues
from raftkv.testing.revision_check import LeaseEnd

__all__ = ["LeaseBook"]

KINDS = frozenset({"lease_grant", "lease_keep_alive", "lease_revoke"})


@dataclass(slots=True)
class _Lease:
    ttl_s: int
    renewed_s: float
    """When the last successful renewal was called: the TTL runs from then or later."""
    touched_s: float
    """When the last renewal that may have had an effect ended, or was given up."""
    revoked_s: float = inf
    """When a revocation was first called."""
    records: list[Operation] = field(default_factory=list)


class LeaseBook:
    """All leases of a run. Times are those of the operations, in seconds.

    `fastest` and `slowest` are the rates of the members' clocks, of true time.
    """

    def __init__(self, fastest: float = 1.0, slowest: float = 1.0) -> None:
        self._fastest = fastest
        self._slowest = slowest
        self._leases: dict[int, _Lease] = {}

    def add(self, operations: Iterable[Operation], now_s: float) -> None:
        """Take in requests about leases that ended before `now_s`."""
        about_leases = [one for one in operations if one.kind in KINDS]
        for operation in sorted(about_leases, key=lambda one: one.called):
            ended_s = min(operation.returned, now_s)
            match operation.input:
                case rpc_pb2.LeaseGrantRequest() if operation.outcome is Outcome.OK:
                    response = cast(rpc_pb2.LeaseGrantResponse, operation.output)
                    lease = _Lease(response.TTL, operation.called, ended_s)
                    self._leases[response.ID] = lease
                    lease.records.append(operation)
                case rpc_pb2.LeaseKeepAliveRequest(ID=lease_id):
                    self._renewal(lease_id, operation, ended_s)
                case rpc_pb2.LeaseRevokeRequest(ID=lease_id) if lease_id in self._leases:
                    if operation.outcome is not Outcome.FAILED:
                        lease = self._leases[lease_id]
                        lease.revoked_s = min(lease.revoked_s, operation.called)
                case _:
                    pass

    def _renewal(self, lease_id: int, operation: Operation, ended_s: float) -> None:
        lease = self._leases.get(lease_id)
        if lease is None or operation.outcome is Outcome.FAILED:
            return
        if operation.outcome is Outcome.OK:
            if cast(rpc_pb2.LeaseKeepAliveResponse, operation.output).TTL <= 0:
                return
            lease.renewed_s = max(lease.renewed_s, operation.called)
            lease.records = [lease.records[0], operation]
        lease.touched_s = max(lease.touched_s, ended_s)

    def may_end(self, end: LeaseEnd, seen_s: float) -> bool:
        """Tell whether a lease whose keys were seen gone at `seen_s` did not end too early."""
        return self._early_s(end, seen_s) <= 0

    def check_end(self, end: LeaseEnd, seen_s: float) -> None:
        """Check that a lease did not end too early; its keys were seen gone at `seen_s`.

        Raises Violation.
        """
        early_s = self._early_s(end, seen_s)
        if early_s > 0:
            lease = self._leases[end.lease]
            raise Violation(
                "a renewed lease lives for its TTL",
                f"lease {end.lease:x} of {lease.ttl_s} s ended {early_s:.3f} s too early,"
                f" at revision {end.revision}, {seen_s:.6f}",
                lease.records,
            )

    def _early_s(self, end: LeaseEnd, seen_s: float) -> float:
        """Return how long a lease should have lived on; not above 0 where it need not."""
        lease = self._leases.get(end.lease)
        if lease is None or lease.revoked_s <= seen_s:
            return -inf
        return lease.renewed_s + lease.ttl_s / self._fastest - seen_s

    def check_remaining(
        self, keys: KeyValues, now_s: float, quiet_since_s: float, grace_s: float
    ) -> None:
        """Check that no key outlived its lease, in a cluster without faults since `quiet_since_s`.

        `grace_s` is how late an expiry may be. Raises Violation. Forgets leases that are over.
        """
        held = {kv.lease: key for key, kv in keys.items() if kv.lease}
        for lease_id, key in held.items():
            lease = self._leases.get(lease_id)
            if lease is None:
                continue
            latest = max(lease.touched_s, quiet_since_s) + lease.ttl_s / self._slowest + grace_s
            if now_s > latest:
                raise Violation(
                    "an expired lease ends",
                    f"lease {lease_id:x} of {lease.ttl_s} s still has {key!r} at {now_s:.6f},"
                    f" {now_s - latest:.3f} s after the last moment; calm since"
                    f" {quiet_since_s:.6f}",
                    lease.records,
                )
        self._forget(held, now_s)

    def _forget(self, held: Mapping[int, bytes], now_s: float) -> None:
        over = [
            lease_id
            for lease_id, lease in self._leases.items()
            if lease_id not in held and now_s > lease.touched_s + 10 * lease.ttl_s
        ]
        for lease_id in over:
            del self._leases[lease_id]
