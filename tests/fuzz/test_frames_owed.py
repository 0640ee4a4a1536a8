"""A client that reads nothing and asks on and on is cut off: refusals of streams pile up, too."""

from raftkv._native.http2 import live_counts
from tests.fuzz.still_loop import still_loop
from tests.fuzz.targets.http2 import FIELDS, LIMITS, PATHS, Talk
from tests.raftkv.native.http2_frames import PREFACE, frame, literal

ASKED = 20_000


async def flood(is_read: bool) -> bool:
    """Ask for many more streams than are allowed; whether the connection was cut."""
    one = Talk(still_loop())
    one.receive(PREFACE + frame(4, 0, 0), 0)
    if not is_read:
        one.protocol.pause_writing()
    kept = literal(b":method", b"POST") + literal(b":path", PATHS[2]) + literal(*FIELDS[0])
    for number in range(ASKED):
        one.receive(frame(1, 4, 2 * number + 1, kept if number < 3 else b"\x83"), 0)
    was_cut = one.transport.closing
    await one.end()
    return was_cut


def test_who_reads_nothing_is_cut_off() -> None:
    assert LIMITS.frames_owed_max < ASKED / 2
    assert still_loop().run_until_complete(flood(is_read=False))
    assert live_counts() == (0, 0)


def test_who_reads_is_refused_for_ever() -> None:
    assert not still_loop().run_until_complete(flood(is_read=True))
