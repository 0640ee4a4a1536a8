"""Fragments of one WebSocket message cost what they weigh, however many they are."""

import time

from raftkv.rpc.websocket_frames import FrameReader

FRAGMENTS = 60_000
SECONDS_MAX = 8.0
"""Minutes, where every frame looked at all fragments before it."""


def fragment(first: int, content: bytes) -> bytes:
    return bytes((first, 0x80 | len(content))) + bytes(4) + content


def test_fragments_of_one_byte() -> None:
    reader = FrameReader(1 << 20)
    began = time.process_time()
    assert reader.push(fragment(0x01, b"x") + fragment(0x00, b"x") * FRAGMENTS) == []
    (message,) = reader.push(fragment(0x80, b"y"))
    assert message.content == b"x" * (FRAGMENTS + 1) + b"y"
    assert time.process_time() - began < SECONDS_MAX


def test_fragments_of_nothing_are_not_kept() -> None:
    reader = FrameReader(1 << 20)
    reader.push(fragment(0x01, b"") + fragment(0x00, b"") * 1000)
    assert not reader._parts
    assert reader.push(fragment(0x80, b"z"))[0].content == b"z"
