"""A range is allowed when the union of what is granted holds all of its keys."""

import random

import pytest

from raftkv.auth.key_ranges import KeyRanges, interval

ALPHABET = [bytes((one,)) for one in b"abcdefgh"]


def ranges(*granted: tuple[bytes, bytes]) -> KeyRanges:
    return KeyRanges(interval(key, end) for key, end in granted)


@pytest.mark.parametrize(
    ("granted", "key", "range_end", "covered"),
    [
        ([], b"a", b"", False),
        ([(b"a", b"")], b"a", b"", True),
        ([(b"a", b"")], b"a\0", b"", False),
        ([(b"a", b"")], b"a", b"a\0", True),
        ([(b"a", b"")], b"a", b"b", False),
        ([(b"a", b"")], b"a", b"\0", False),
        ([(b"a", b"c")], b"b", b"", True),
        ([(b"a", b"c")], b"c", b"", False),
        ([(b"a", b"c")], b"a", b"c", True),
        ([(b"a", b"c")], b"a", b"\0", False),
        ([(b"a", b"c"), (b"c", b"e")], b"b", b"d", True),
        ([(b"a", b"c"), (b"b", b"e")], b"a", b"e", True),
        ([(b"a", b"b"), (b"c", b"e")], b"a", b"e", False),
        ([(b"a", b""), (b"a\0", b"c")], b"a", b"c", True),
        ([(b"m", b"\0")], b"n", b"\0", True),
        ([(b"m", b"\0")], b"n", b"", True),
        ([(b"m", b"\0")], b"l", b"\0", False),
        ([(b"\0", b"\0")], b"\0", b"\0", True),
        ([(b"a", b"c"), (b"b", b"\0")], b"a", b"\0", True),
        ([(b"c", b"a")], b"b", b"", False),
        ([(b"a", b"c")], b"b", b"a", True),
        ([(b"a", b"c")], b"c", b"a", False),
    ],
)
def test_union(
    granted: list[tuple[bytes, bytes]], key: bytes, range_end: bytes, covered: bool
) -> None:
    assert ranges(*granted).cover(key, range_end) is covered


@pytest.mark.parametrize("seed", range(20))
def test_it_is_what_looking_at_every_key_says(seed: int) -> None:
    """All ends are letters of a small alphabet, so that asking each letter is the whole truth."""
    chance = random.Random(seed)

    def one() -> tuple[bytes, bytes]:
        begin = chance.choice(ALPHABET)
        return begin, chance.choice([*ALPHABET, b"\0"])

    for _ in range(200):
        granted = [one() for _ in range(chance.randrange(5))]
        key, end = one()
        if end != b"\0" and end <= key:
            continue
        wanted = {one for one in ALPHABET if key <= one and (end == b"\0" or one < end)}
        allowed = {
            letter
            for letter in ALPHABET
            for begin, stop in granted
            if letter >= begin and (stop == b"\0" or letter < stop)
        }
        open_end = any(stop == b"\0" for _, stop in granted) or end != b"\0"
        assert ranges(*granted).cover(key, end) is (wanted <= allowed and open_end), (granted, key)
