"""The check of leases: not a moment too early, and not much too late."""

import pytest

from raftkv.pb.etcd import kv_pb2, rpc_pb2
from raftkv.testing.history import Operation, Outcome, Violation
from raftkv.testing.lease_check import LeaseBook
from raftkv.testing.revision_check import LeaseEnd

TTL_S = 4
LEASE = 7
END = LeaseEnd(9, LEASE, (b"k",))
KEYS = {b"k": kv_pb2.KeyValue(key=b"k", lease=LEASE)}


def grant(called: float, returned: float) -> Operation:
    response = rpc_pb2.LeaseGrantResponse(ID=LEASE, TTL=TTL_S)
    request = rpc_pb2.LeaseGrantRequest(TTL=TTL_S)
    return Operation(0, "lease_grant", request, called, response, returned, Outcome.OK)


def keep_alive(called: float, returned: float, ttl_s: int | None = TTL_S) -> Operation:
    """Renew; None is no answer."""
    request = rpc_pb2.LeaseKeepAliveRequest(ID=LEASE)
    if ttl_s is None:
        return Operation(0, "lease_keep_alive", request, called)
    response = rpc_pb2.LeaseKeepAliveResponse(ID=LEASE, TTL=ttl_s)
    return Operation(0, "lease_keep_alive", request, called, response, returned, Outcome.OK)


def book(*operations: Operation, fastest: float = 1.0, now_s: float = 50) -> LeaseBook:
    made = LeaseBook(fastest=fastest)
    made.add(operations, now_s)
    return made


def ends_too_early(leases: LeaseBook, seen_s: float) -> bool:
    try:
        leases.check_end(END, seen_s)
    except Violation as violation:
        return violation.promise == "a renewed lease lives for its TTL"
    return False


def test_too_early() -> None:
    """The TTL runs from the call of the last renewal that was answered."""
    assert ends_too_early(book(grant(10, 11)), 13.9)
    assert not ends_too_early(book(grant(10, 11)), 14.0)
    assert ends_too_early(book(grant(10, 11), keep_alive(12, 13)), 15.9)
    assert not ends_too_early(book(grant(10, 11), keep_alive(12, 13)), 16.0)


def test_renewals_that_promise_nothing() -> None:
    """Neither one without an answer nor one that found no lease prolongs the promise."""
    assert not ends_too_early(book(grant(10, 11), keep_alive(12, 0, None)), 14.0)
    assert not ends_too_early(book(grant(10, 11), keep_alive(12, 13, 0)), 14.0)


def test_fast_clocks() -> None:
    """A leader whose clock is fast by a quarter may end a lease a fifth earlier."""
    assert not ends_too_early(book(grant(10, 11), fastest=1.25), 13.2)
    assert ends_too_early(book(grant(10, 11), fastest=1.25), 13.1)


def test_revoked() -> None:
    """A lease that somebody revoked, or tried to, may end at any time after that."""
    revoke = Operation(1, "lease_revoke", rpc_pb2.LeaseRevokeRequest(ID=LEASE), 11.5)
    assert not ends_too_early(book(grant(10, 11), revoke), 11.6)
    assert ends_too_early(book(grant(10, 11), revoke), 11.4)


def outlives(leases: LeaseBook, now_s: float, quiet_since_s: float = 0) -> bool:
    try:
        leases.check_remaining(KEYS, now_s, quiet_since_s, grace_s=1)
    except Violation as violation:
        return violation.promise == "an expired lease ends"
    return False


def test_too_late() -> None:
    """A key goes a TTL and the grace after the last renewal, if nothing disturbs."""
    assert not outlives(book(grant(10, 11)), 16.0)
    assert outlives(book(grant(10, 11)), 16.1)
    assert not outlives(book(grant(10, 11), keep_alive(12, 13)), 18.0)
    assert outlives(book(grant(10, 11), keep_alive(12, 13)), 18.1)


def test_too_late_after_faults() -> None:
    """Each new leader gives every lease its time again, so the time of faults does not count."""
    assert not outlives(book(grant(10, 11)), 25, quiet_since_s=20)
    assert outlives(book(grant(10, 11)), 25.1, quiet_since_s=20)


def test_an_unanswered_renewal_may_prolong() -> None:
    assert not outlives(book(grant(10, 11), keep_alive(12, 0, None), now_s=14), 19.0)
    assert outlives(book(grant(10, 11), keep_alive(12, 0, None), now_s=14), 19.1)


def test_forgets() -> None:
    """Leases that are over are not kept for the rest of a run."""
    leases = book(grant(10, 11))
    leases.check_remaining({}, 1000, 0, 1)
    leases.check_end(END, 0)
    with pytest.raises(Violation):
        book(grant(10, 11)).check_end(END, 0)
