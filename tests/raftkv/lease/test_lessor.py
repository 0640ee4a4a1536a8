"""Leases expire in order, once, and never while somebody renews them."""

import random

import pytest

from raftkv.lease.lessor import NOTE_INTERVAL_S, RENEWED, RETRY_S, Lessor


def primary(*leases: tuple[int, int]) -> Lessor:
    """Return a leader's lessor at time 0, whose leases are renewed at will."""
    lessor = Lessor(ttl_min_s=2)
    lessor.promote(0.0, 0.0)
    for lease_id, ttl_s in leases:
        grant(lessor, lease_id, ttl_s, 0.0)
    return lessor


def grant(lessor: Lessor, lease_id: int, ttl_s: int, now: float) -> None:
    lessor.granted(lease_id, ttl_s, now)
    lessor.settled(lease_id, RENEWED, now)


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


def test_a_new_leader_lets_a_lease_live_for_what_it_had_left_and_an_extension() -> None:
    """A granted lease is known to all members from the moment it is granted."""
    lessor = Lessor(ttl_min_s=2)
    lessor.granted(1, 10, 0.0)
    assert lessor.take_expired(1e9) == []
    lessor.promote(4.0, 1.0)
    assert lessor.remaining_s(1, 4.0) == 7
    assert lessor.take_expired(10.9) == []
    assert lessor.take_expired(11.0) == [1]


def test_a_new_leader_gives_a_lease_that_was_renewed_its_full_ttl() -> None:
    """Nobody but the former leader knows of the last renewal."""
    lessor = Lessor(ttl_min_s=2)
    lessor.granted(1, 10, 0.0)
    lessor.settled(1, RENEWED, 3.0)
    assert lessor.remaining_s(1, 3.0) == -1
    lessor.promote(100.0, 1.0)
    assert lessor.take_expired(110.9) == []
    assert lessor.take_expired(111.0) == [1]


def test_a_lease_that_ended_while_nobody_led_lives_for_the_extension() -> None:
    lessor = Lessor(ttl_min_s=2)
    lessor.granted(1, 10, 0.0)
    lessor.promote(100.0, 1.0)
    assert lessor.take_expired(100.9) == []
    assert lessor.take_expired(101.0) == [1]


def test_a_lease_that_nobody_renews_is_settled_after_half_its_ttl() -> None:
    lessor = primary((1, 10))
    assert lessor.take_unsettled(4.9) == []
    assert lessor.take_unsettled(5.0) == [(1, 5.0)]
    assert lessor.is_settled(1), "from the proposal on: a renewal must come after it in the log"
    assert lessor.take_unsettled(6.0) == []
    lessor.settled(1, 5.0, 6.0)
    lessor.demote()
    assert lessor.remaining_s(1, 6.0) == 4, "by its own clock, not by when it was applied"


def test_a_lease_that_is_kept_alive_is_never_settled() -> None:
    lessor = primary((1, 9))
    for now in range(3, 300, 3):
        assert lessor.take_unsettled(now) == []
        assert lessor.renew(1, now) == 9


def test_what_was_not_proposed_is_settled_later_and_can_be_renewed_until_then() -> None:
    lessor = primary((1, 10))
    lessor.give_up(lessor.take_unsettled(5.0), 5.0)
    assert lessor.renew(1, 6.0) == 10
    assert lessor.take_unsettled(10.9) == []
    assert lessor.take_unsettled(11.0) == [(1, 5.0)]


def test_a_stray_renewal_does_not_overtake_a_settling() -> None:
    """It is applied while the leader's own settling is under way, which follows in the log."""
    lessor = primary((1, 10))
    lessor.take_unsettled(5.0)
    lessor.settled(1, 5.0, 5.1)
    assert lessor.is_settled(1)
    lessor.settled(1, RENEWED, 5.2)
    assert not lessor.is_settled(1)
    assert lessor.renew(1, 5.3) == 10


def test_what_a_settled_lease_has_left_is_written_down_now_and_then() -> None:
    lessor = Lessor(ttl_min_s=2)
    lessor.promote(0.0, 0.0)
    lessor.granted(1, 1000, 0.0)
    assert lessor.take_unsettled(NOTE_INTERVAL_S) == []
    assert lessor.take_unsettled(100.0) == [(1, 900.0)]
    assert lessor.take_unsettled(200.0) == [(1, 800.0)]


def test_a_lease_that_is_being_unsettled_is_not_settled_behind_that() -> None:
    """Renewals between the two would be forgotten by all who apply the second."""
    lessor = Lessor(ttl_min_s=2)
    lessor.restored(1, 10, RENEWED, 0.0)
    lessor.restored(2, 10, 9.0, 0.0)
    lessor.promote(0.0, 0.0)
    assert lessor.take_unsettled(100.0, unsettling={1, 2}) == []
    lessor.settled(1, RENEWED, 100.0)
    assert {one for one, _ in lessor.take_unsettled(100.0 + RETRY_S)} == {2}, "still settled"
    assert [one for one, _ in lessor.take_unsettled(105.0)] == [1]


def test_rounds_of_settling_are_bounded() -> None:
    lessor = primary(*((lease_id, 5) for lease_id in range(1, 11)))
    assert len(lessor.take_unsettled(4.0, count_max=4)) == 4
    assert len(lessor.take_unsettled(4.0, count_max=100)) == 6


def test_a_settled_lease_is_not_renewed() -> None:
    lessor = Lessor(ttl_min_s=2)
    lessor.promote(0.0, 0.0)
    lessor.granted(1, 10, 0.0)
    with pytest.raises(AssertionError, match="settled"):
        lessor.renew(1, 1.0)


def test_a_restart_keeps_what_was_written_down() -> None:
    lessor = Lessor(ttl_min_s=2)
    lessor.restored(1, 100, 30.0, 5.0)
    lessor.restored(2, 100, RENEWED, 5.0)
    lessor.promote(5.0, 0.0)
    assert [lessor.remaining_s(one, 5.0) for one in (1, 2)] == [30, 100]


def test_after_a_restart_the_first_renewal_is_for_all_to_know() -> None:
    """Others may have settled the lease when it was granted, though nothing was written down."""
    lessor = Lessor(ttl_min_s=2)
    lessor.restored(1, 100, RENEWED, 5.0)
    lessor.promote(5.0, 0.0)
    assert lessor.is_settled(1)
    lessor.settled(1, RENEWED, 6.0)
    assert lessor.renew(1, 6.0) == 100


def test_a_former_leader_expires_nothing() -> None:
    lessor = primary((1, 2))
    lessor.demote()
    assert lessor.take_expired(1e9) == []
    assert lessor.granted_ttl_s(1) == 2
    assert 1 in lessor


def test_a_lease_granted_again_after_its_end_starts_afresh() -> None:
    lessor = primary((1, 10))
    lessor.revoked(1)
    grant(lessor, 1, 50, 5.0)
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
                grant(lessor, lease_id, ttl_s, now)
                deadlines[lease_id] = now + ttl_s
            case 1 if lease_id in deadlines and deadlines[lease_id] > now:
                lessor.settled(lease_id, RENEWED, now)
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
