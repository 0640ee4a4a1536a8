"""The codec, with friendly and hostile bytes."""

from __future__ import annotations

import contextlib
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftkv._native import peer_messages, peer_messages_reference
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
NUMBERS = st.integers(0, (1 << 62) - 1)
"""Terms and indexes."""


MEMBERS = st.frozensets(U64, max_size=3)


@st.composite
def snapshots(draw: st.DrawFn) -> SnapshotMetadata | None:
    if draw(st.booleans()):
        return None
    sets = [draw(MEMBERS) for _ in range(4)]
    configuration = Configuration(sets[0], sets[1], sets[2], sets[3], draw(st.booleans()))
    return SnapshotMetadata(draw(NUMBERS), draw(NUMBERS), configuration)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    index = draw(st.integers(0, (1 << 62) - 10))
    blocks = draw(st.lists(st.tuples(NUMBERS, st.sampled_from(EntryKind), st.binary()), max_size=4))
    return Message(
        draw(st.sampled_from(MessageType)),
        draw(U64),
        draw(U64),
        draw(NUMBERS),
        draw(NUMBERS),
        index,
        draw(NUMBERS),
        tuple(
            Entry(term, index + 1 + i, kind, data) for i, (term, kind, data) in enumerate(blocks)
        ),
        draw(st.booleans()),
        draw(NUMBERS),
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


@given(st.lists(messages(), max_size=4), st.binary(max_size=8), st.integers(0, 1 << 30))
def test_the_plain_codec_agrees(sent: list[Message], noise: bytes, place: int) -> None:
    """On what is right, and on what was right before some bytes of it changed."""
    body = peer_messages.encode(sent)
    assert body == peer_messages_reference.encode(sent)
    place %= len(body)
    altered = body[:place] + noise + body[place + len(noise) :]
    for given_body in (body, altered, body[:place]):
        try:
            expected = peer_messages_reference.decode(given_body)
        except ValueError:
            with pytest.raises(FrameError):
                decode_messages(given_body)
        else:
            assert decode_messages(given_body) == expected


@given(
    st.lists(messages(), max_size=3),
    st.booleans(),
    st.binary(max_size=8),
    st.integers(0, 1 << 30),
    st.sampled_from((FrameType.MESSAGES, FrameType.MESSAGES, FrameType.FORWARD)),
    st.sampled_from((b"", b"", b"x")),
)
def test_one_frame_of_a_pair_is_read_as_frames_are(
    sent: list[Message],
    from_one: bool,
    noise: bytes,
    place: int,
    type_: FrameType,
    more: bytes,
) -> None:
    """All that is not exactly one such frame is left to whoever says what is wrong with it."""
    for message in sent:
        message.to, message.sender = 2, 1 if from_one else message.sender
    assert peer_messages.encode_frame(sent) == encode_frame(
        FrameType.MESSAGES, peer_messages.encode(sent)
    )
    body = bytearray(peer_messages.encode(sent))
    place %= len(body)
    body[place : place + len(noise)] = noise
    frame = encode_frame(type_, bytes(body)) + more
    expected: list[Message] | None = None
    if type_ is FrameType.MESSAGES and not more:
        with contextlib.suppress(FrameError):
            expected = decode_messages(bytes(body))
    if any((message.sender, message.to) != (1, 2) for message in expected or ()):
        expected = None
    assert peer_messages.messages_of_frame(frame, 1, 2) == expected
    assert peer_messages.messages_of_frame(frame[:-1], 1, 2) is None or more


ENTRY = Entry(1, 8, EntryKind.NORMAL, b"five!")
BODY = peer_messages.encode([Message(MessageType.APPEND, 2, 1, 5, index=7, entries=(ENTRY,))])
SNAPSHOT = peer_messages.encode(
    [Message(MessageType.SNAPSHOT, 2, 1, 5, snapshot=SnapshotMetadata(9, 2, Configuration()))]
)


def with_bytes(body: bytes, place: int, value: bytes) -> bytes:
    return body[:place] + value + body[place + len(value) :]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "number of messages is missing"),
        (BODY[:40], "a message is cut short"),
        (with_bytes(BODY, 4, b"\x63"), "unknown message type 99"),
        (with_bytes(BODY, 4, b"\0"), "unknown message type 0"),
        (with_bytes(BODY, 5, b"\x08"), "unknown flags 0x8"),
        (with_bytes(BODY, 26, b"\xff" * 8), "a term or an index is out of range"),
        (with_bytes(BODY, 42, b"\xff" * 7 + b"\x3f"), "an entry has no index"),
        (with_bytes(BODY, 74, b"\xff" * 8), "an entry's term is out of range"),
        (with_bytes(SNAPSHOT, 74, b"\xff" * 8), "a snapshot's term or index is out of range"),
        (with_bytes(BODY, 6, b"\xff" * 4), "entries are cut short"),
        (with_bytes(BODY, 90, b"\x09"), "unknown entry kind 9"),
        (with_bytes(BODY, 86, b"\x06\0\0\0"), "data is cut short"),
        (BODY + b"more", "4 bytes too many"),
        (SNAPSHOT[:90], "metadata is cut short"),
        (SNAPSHOT[:95], "configuration is cut short"),
        (with_bytes(SNAPSHOT, 94, b"\xff"), "configuration"),
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
