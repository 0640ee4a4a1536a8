"""The codec, with friendly and hostile bytes."""

from __future__ import annotations

import contextlib
import struct
import zlib

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftkv.peer.errors import FrameError
from raftkv.peer.frame import (
    PROTOCOL_VERSION,
    FrameDecoder,
    FrameType,
    decode_answer,
    decode_hello,
    decode_messages,
    decode_request,
    encode_answer,
    encode_frame,
    encode_hello,
    encode_messages,
    encode_request,
)
from raftkv.raft.configuration import Configuration
from raftkv.raft.messages import Entry, EntryKind, Message, MessageType, SnapshotMetadata

U64 = st.integers(0, (1 << 64) - 1)


MEMBERS = st.frozensets(U64, max_size=3)


@st.composite
def snapshots(draw: st.DrawFn) -> SnapshotMetadata | None:
    if draw(st.booleans()):
        return None
    sets = [draw(MEMBERS) for _ in range(4)]
    configuration = Configuration(sets[0], sets[1], sets[2], sets[3], draw(st.booleans()))
    return SnapshotMetadata(draw(U64), draw(U64), configuration)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    index = draw(st.integers(0, (1 << 64) - 10))
    blocks = draw(st.lists(st.tuples(U64, st.sampled_from(EntryKind), st.binary()), max_size=4))
    return Message(
        draw(st.sampled_from(MessageType)),
        draw(U64),
        draw(U64),
        draw(U64),
        draw(U64),
        index,
        draw(U64),
        tuple(
            Entry(term, index + 1 + i, kind, data) for i, (term, kind, data) in enumerate(blocks)
        ),
        draw(st.booleans()),
        draw(U64),
        draw(U64),
        draw(st.booleans()),
        draw(snapshots()),
    )


@given(st.lists(messages(), max_size=4), st.integers(1, 64))
def test_messages_survive_any_cutting_of_the_stream(sent: list[Message], step: int) -> None:
    stream = encode_messages(sent) + encode_messages(sent[:1])
    decoder = FrameDecoder()
    frames = [
        frame
        for start in range(0, len(stream), step)
        for frame in decoder.feed(stream[start : start + step])
    ]
    assert [type_ for type_, _ in frames] == [FrameType.MESSAGES] * 2
    assert [decode_messages(body) for _, body in frames] == [sent, sent[:1]]


@given(st.lists(messages(), min_size=1, max_size=2), st.data())
def test_a_changed_byte_is_noticed(sent: list[Message], data: st.DataObject) -> None:
    """No flip of a byte behind the length passes the checksum."""
    frame = bytearray(encode_messages(sent))
    frame[data.draw(st.integers(4, len(frame) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(FrameError):
        FrameDecoder().feed(bytes(frame))


@given(st.binary(max_size=200))
def test_random_bodies_are_refused_or_read_never_worse(body: bytes) -> None:
    for decode in (decode_messages, decode_hello, decode_request, decode_answer):
        with contextlib.suppress(FrameError):
            decode(body)


def body_of(control: object, data: bytes = b"") -> bytes:
    packed: bytes = msgpack.packb(control)
    return struct.pack("<I", len(packed)) + packed + data


GOOD: list[object] = [3, 2, 1, 5, 0, 0, 0, False, 0, 0, False, None, []]


def altered(position: int, value: object) -> list[object]:
    return [*GOOD[:position], value, *GOOD[position + 1 :]]


def test_the_good_message_is_good() -> None:
    assert decode_messages(body_of([GOOD])) == [Message(MessageType.HEARTBEAT, 2, 1, 5)]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "missing"),
        (struct.pack("<I", 9) + b"x", "cut short"),
        (struct.pack("<I", 1) + b"\xc1", "not msgpack"),
        (body_of({}), "no list"),
        (body_of([GOOD[:-1]]), "13 fields"),
        (body_of([altered(0, 99)]), "unknown message type"),
        (body_of([altered(3, -1)]), "no unsigned"),
        (body_of([altered(3, True)]), "no unsigned"),
        (body_of([altered(7, 1)]), "wrong type"),
        (body_of([altered(11, [7, 1])]), "index, term and configuration"),
        (body_of([altered(11, [7, 1, b"no"])]), "configuration"),
        (body_of([altered(12, [1, 0])]), "4 fields"),
        (body_of([altered(12, [1, 9, 0, 0])]), "unknown entry kind"),
        (body_of([altered(12, [1, 0, 0, 5])], b"four"), "cut short"),
        (body_of([GOOD], b"more"), "too many"),
    ],
)
def test_what_is_out_of_place_is_named(body: bytes, problem: str) -> None:
    with pytest.raises(FrameError, match=problem):
        decode_messages(body)


def test_a_frame_has_bounds() -> None:
    with pytest.raises(FrameError, match="may not have 4 bytes"):
        FrameDecoder().feed(struct.pack("<II", 4, 0))
    with pytest.raises(FrameError, match="may not have"):
        FrameDecoder(frame_bytes_max=100).feed(struct.pack("<II", 101, 0))
    unknown = b"\x63"
    with pytest.raises(FrameError, match="unknown frame type 99"):
        FrameDecoder().feed(struct.pack("<II", 5, zlib.crc32(unknown)) + unknown)


def test_requests_answers_and_hellos_come_out_as_they_went_in() -> None:
    decoder = FrameDecoder()
    stream = (
        encode_request(7, "lease/keep-alive", b"payload")
        + encode_answer(FrameType.RESPONSE, 7, b"answer")
        + encode_hello(0xC1, 1, 2)
        + encode_frame(FrameType.FORWARD, b"ba", b"tch")
    )
    request, answer, hello, forward = decoder.feed(stream)
    assert decode_request(request[1]) == (7, "lease/keep-alive", b"payload")
    assert decode_answer(answer[1]) == (7, b"answer")
    assert decode_hello(hello[1]) == (PROTOCOL_VERSION, 0xC1, 1, 2)
    assert forward == (FrameType.FORWARD, b"batch")
    with pytest.raises(ValueError, match="1 to 255"):
        encode_request(1, "", b"")
