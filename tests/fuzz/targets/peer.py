"""What arrives on the peer port: frames, and what they are handed to.

The first byte says whether the rest is the stream's bytes, or frames whose length and checksum are
made right. Whatever arrives ends in values or in a FrameError; entries go on to the batch decoders.
"""

from __future__ import annotations

from contextlib import suppress

from raftkv._native.command_batch import check_batch, read_commands, read_header
from raftkv.peer.errors import FrameError
from raftkv.peer.frame import (
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
    url_of_hello,
)
from raftkv.raft.configuration import Configuration
from raftkv.raft.messages import Entry, EntryKind, Message, MessageType, SnapshotMetadata
from raftkv.server.join import describe, read_description
from raftkv.server.membership import MemberRecord, Membership
from raftkv.server.snapshot_protocol import INSTALL, decode_install, decode_place
from tests.fuzz.pieces import Pieces, cut, string
from tests.raftkv.native.mvcc_store_driver import raw_batch

FRAMES_MAX = 40
PIECE_BYTES = (0, 1, 7, 100)
FRAME_BYTES_MAX = 1 << 16


def take(type_: FrameType, body: bytes) -> None:
    """Do with a frame what a connection does with it."""
    match type_:
        case FrameType.HELLO:
            decode_hello(body)
            assert isinstance(url_of_hello(body), str)
        case FrameType.MESSAGES:
            messages = decode_messages(body)
            for message in messages:
                for entry in message.entries:
                    take_batch(entry.data)
            again = encode_messages(messages)[9:]
            assert decode_messages(again) == messages
        case FrameType.FORWARD:
            take_batch(body)
        case FrameType.REQUEST:
            _number, kind, payload = decode_request(body)
            with suppress(ValueError):
                decode_install(1, 2, payload) if kind == INSTALL else decode_place(payload)
        case FrameType.RESPONSE | FrameType.FAILED:
            decode_answer(body)
        case FrameType.DISCOVERED:
            with suppress(ValueError):
                read_description(body)
        case _:
            body.decode("utf-8", "replace")


def take_batch(data: bytes) -> None:
    """Read a batch, which may be none."""
    try:
        commands = read_commands(data)
    except ValueError:
        commands = []
    try:
        assert check_batch(data) == read_header(data)[1]
        assert commands
    except ValueError:
        assert not commands


def framed(pieces: Pieces) -> bytes:
    """Read types and bodies, make frames of them."""
    frames: list[bytes] = []
    while not pieces.is_empty and len(frames) < FRAMES_MAX:
        type_ = pieces.byte()
        body = pieces.string()
        with suppress(ValueError):
            frames.append(encode_frame(FrameType(type_), body))
    return b"".join(frames)


def run(data: bytes) -> None:
    """Feed one connection."""
    pieces = Pieces(data)
    mode = pieces.byte()
    stream = framed(pieces) if mode & 1 else pieces.rest()
    decoder = FrameDecoder(FRAME_BYTES_MAX)
    try:
        for piece in cut(stream, PIECE_BYTES[mode >> 1 & 3]):
            for type_, body in decoder.feed(piece):
                with suppress(FrameError):
                    take(type_, body)
    except FrameError:
        return


def seeds() -> list[bytes]:
    """Return a frame of each type, as bytes and as a program."""
    batch = raw_batch([(1, b"\n\1k"), (64, b"opaque")])
    entry = Entry(3, 8, EntryKind.NORMAL, batch, 5)
    snapshot = SnapshotMetadata(9, 2, Configuration(frozenset({1, 2}), learners=frozenset({3})))
    messages = [
        Message(
            MessageType.APPEND, 1, 2, 3, 2, 7, 6, (entry, Entry(3, 9, EntryKind.NORMAL, b"", 0))
        ),
        Message(MessageType.SNAPSHOT, 1, 2, 3, snapshot=snapshot),
    ]
    member = MemberRecord(1, "a", ("http://127.0.0.1:2380",), ())
    frames = [
        encode_hello(1, 2, 3, "http://127.0.0.1:2380"),
        encode_messages(messages),
        encode_frame(FrameType.FORWARD, batch),
        encode_request(7, "snapshot", b"payload"),
        encode_request(8, INSTALL, bytes(24) + snapshot.configuration.encode()),
        encode_answer(FrameType.RESPONSE, 7, b"payload"),
        encode_frame(FrameType.REMOVED),
        encode_frame(FrameType.DISCOVERED, describe(Membership.of(1, [member]))),
    ]
    programs = [b"\1" + frame[8:9] + string(frame[9:]) for frame in frames]
    return [b"\0" + frame for frame in frames] + [b"\2" + b"".join(frames), *programs]
