"""Leases expire in order, once, and never while somebody renews them."""

import random

from raftkv.lease.lessor import RETRY_S, Lessor


def primary(*leases: tuple[int, int]) -> Lessor:
    lessor = Lessor(ttl_min_s=2)
    lessor.promote(0.0, 0.0)
    for lease_id, ttl_s in leases:
        lessor.granted(lease_id, ttl_s, 0.0)
    return lessor


def test_the_minimum_ttl_is_raised_and_longer_ones_are_kept() -> None:
    lessor = Lessor(ttl_min_s=2)
    assert [lessor.resolve_ttl(ttl) for ttl in (-5, 0, 1, 2, 60)] == [2, 2, 2, 2, 60]


def test_leases_expire_in_the_order_of_their_deadlines() -> None:
    lessor = primary((1, 30), (2, 10), (3, 20))
    assert lessor.take_expired(9.9) == []
    assert lessor.take_expired(30.0) == [2, 3, 1]


def test_a_renewed_lease_expires_a_full_ttl_after_the_renewal() -> None:
    lessor = primary((7, 10))
    assert lessor.renew(7, 9.0) == 10
    assert lessor.take_expired(18.9) == []
    assert lessor.remaining_s(7, 12.0) == 7
    assert lessor.take_expired(19.0) == [7]


def test_an_expired_lease_cannot_be_renewed_while_its_revocation_is_under_way() -> None:
    lessor = primary((7, 10))
    assert lessor.take_expired(10.0) == [7]
    assert lessor.renew(7, 10.5) == 0


def test_a_revocation_that_was_lost_is_asked_for_again() -> None:
    lessor = primary((7, 10))
    assert lessor.take_expired(10.0) == [7]
    assert lessor.take_expired(10.0 + RETRY_S - 0.1) == []
    assert lessor.take_expired(10.0 + RETRY_S) == [7]
    lessor.revoked(7)
    assert lessor.take_expired(1000.0) == []


def test_one_round_is_bounded_and_the_rest_follows() -> None:
    lessor = primary(*((lease_id, 5) for lease_id in range(1, 11)))
    first = lessor.take_expired(5.0, count_max=4)
    second = lessor.take_expired(5.0, count_max=100)
    assert len(first) == 4
    assert sorted(first + second) == list(range(1, 11))


def test_a_new_leader_gives_each_lease_its_full_ttl_and_an_extension() -> None:
    lessor = Lessor(ttl_min_s=2)
    lessor.granted(1, 10, 0.0)
    assert lessor.remaining_s(1, 0.0) == -1
    assert lessor.take_expired(1e9) == []
    lessor.promote(100.0, 1.0)
    assert lessor.take_expired(110.9) == []
    assert lessor.take_expired(111.0) == [1]


def test_a_former_leader_expires_nothing() -> None:
    lessor = primary((1, 2))
    lessor.demote()
    assert lessor.take_expired(1e9) == []
    assert lessor.granted_ttl_s(1) == 2
    assert 1 in lessor


def test_a_lease_granted_again_after_its_end_starts_afresh() -> None:
    lessor = primary((1, 10))
    lessor.revoked(1)
    lessor.granted(1, 50, 5.0)
    assert lessor.take_expired(54.9) == []
    assert lessor.take_expired(55.0) == [1]


def test_random_histories_agree_with_a_plain_table() -> None:
    """Each expiry is due, each due lease expires, for random grants, renewals and revocations."""
    chance = random.Random(7)
    lessor = primary()
    deadlines: dict[int, float] = {}
    now = 0.0
    for _ in range(5000):
        now += chance.random()
        lease_id = chance.randrange(1, 50)
        match chance.randrange(4):
            case 0 if lease_id not in lessor:
                ttl_s = chance.randrange(2, 40)
                lessor.granted(lease_id, ttl_s, now)
                deadlines[lease_id] = now + ttl_s
            case 1 if lease_id in deadlines and deadlines[lease_id] > now:
                deadlines[lease_id] = now + lessor.renew(lease_id, now)
            case 2:
                lessor.revoked(lease_id)
                deadlines.pop(lease_id, None)
            case _:
                due = {known for known, deadline in deadlines.items() if deadline <= now}
                assert set(lessor.take_expired(now)) == due
                for known in due:
                    lessor.revoked(known)
                    del deadlines[known]
