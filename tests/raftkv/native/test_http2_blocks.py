"""Header blocks, windows and padding byte by byte: what a client may do, and what it may not."""

import struct

import pytest

from raftkv._native.http2 import Limits
from tests.raftkv.native.http2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    frame,
    literal,
    message,
    request_headers,
)
from tests.raftkv.native.http2_serving import serving, until
from tests.raftkv.native.test_http2_hostile import Raw, check_still_serving, raw

PRIORITY, PUSH_PROMISE, WINDOW_UPDATE = 2, 5, 8
PADDED, HAS_PRIORITY = 0x8, 0x20
ECHO = request_headers(b"/test.Test/Echo")
FACTS = request_headers(b"/test.Test/Facts")
CONTENT_TYPE = b"\x10application/grpc"
STATUS_OK = b"\x0bgrpc-status\x010"


def indexing(name: bytes, value: bytes) -> bytes:
    """A literal field that enters the decoder's table."""
    return b"\x40" + literal(name, value)[1:]


def place(number: int) -> bytes:
    """A field of the table; 62 is the one that entered last."""
    return bytes([0x80 | number])


async def blocks_of_answer(client: Raw, stream_id: int) -> list[bytes]:
    """Read one answer's header blocks."""
    blocks = []
    while True:
        kind, flags, on, payload = await client.receive()
        if kind == HEADERS and on == stream_id:
            blocks.append(payload)
            if flags & END_STREAM:
                return blocks


async def facts(client: Raw, stream_id: int, block: bytes) -> bytes:
    """Ask what the server understood of a header block."""
    client.send(
        frame(HEADERS, END_HEADERS, stream_id, block),
        frame(DATA, END_STREAM, stream_id, message(b"")),
    )
    return (await client.receive_until(DATA))[3]


async def test_a_block_means_what_the_table_says_when_it_comes() -> None:
    """The same bytes, before and after the table has changed."""
    async with serving() as front, raw(front) as client:
        begin = b"".join(
            literal(*one)
            for one in (
                (b":method", b"POST"),
                (b":path", b"/test.Test/Facts"),
                (b"content-type", b"application/grpc"),
            )
        )
        assert b"'one'" in await facts(client, 1, begin + indexing(b"a", b"one"))
        for stream_id in (3, 5, 7):
            assert b"(b'a', b'one')" in await facts(client, stream_id, begin + place(62))
        assert b"'two'" in await facts(client, 9, begin + indexing(b"a", b"two"))
        for stream_id in (11, 15):
            assert b"(b'a', b'two')" in await facts(client, stream_id, begin + place(62))
            assert b"(b'a', b'one')" in await facts(client, stream_id + 2, begin + place(63))
        assert b"'a'" not in await facts(client, 19, begin)
        client.send(frame(HEADERS, END_HEADERS, 21, b"\x20" + begin + place(62)))
        assert (await client.receive_until(GOAWAY))[3][4:] == struct.pack(">I", 9)


async def test_more_known_blocks_than_are_kept() -> None:
    async with serving() as front, raw(front) as client:
        stream_id = 1
        for _ in range(3):
            for number in range(20):
                block = FACTS + literal(b"n", b"%d" % number)
                assert b"(b'n', b'%d')" % number in await facts(client, stream_id, block)
                stream_id += 2


async def test_a_block_in_many_frames_even_empty_ones() -> None:
    async with serving() as front, raw(front) as client:
        client.send(
            frame(HEADERS, 0, 1),
            *(frame(CONTINUATION, 0, 1, ECHO[at : at + 30]) for at in range(0, len(ECHO), 30)),
            frame(CONTINUATION, END_HEADERS, 1),
            frame(DATA, END_STREAM, 1, message(b"whole")),
        )
        assert (await client.receive_until(DATA))[3] == message(b"whole")


async def test_padding_and_priority_are_taken_off() -> None:
    async with serving() as front, raw(front) as client:
        fixed = b"\x07" + struct.pack(">IB", 0, 15)
        client.send(
            frame(PRIORITY, 0, 1, bytes(5)),
            frame(HEADERS, END_HEADERS | PADDED | HAS_PRIORITY, 1, fixed + ECHO + bytes(7)),
            frame(DATA, PADDED, 1, b"\x03" + message(b"pad")[:4] + bytes(3)),
            frame(DATA, PADDED, 1, b"\x00" + message(b"pad")[4:]),
            frame(DATA, PADDED | END_STREAM, 1, b"\x02" + bytes(2)),
        )
        assert (await client.receive_until(DATA))[3] == message(b"pad")


async def test_trailers_end_a_request() -> None:
    async with serving() as front, raw(front) as client:
        client.send(
            frame(HEADERS, END_HEADERS, 1, ECHO),
            frame(DATA, 0, 1, message(b"x")),
            frame(HEADERS, END_HEADERS | END_STREAM, 1, literal(b"t", b"v")),
        )
        assert (await client.receive_until(DATA))[3] == message(b"x")


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([frame(HEADERS, END_HEADERS, 1, ECHO), frame(HEADERS, END_HEADERS, 1, ECHO)], 1),
        ([frame(HEADERS, 0, 1, ECHO), frame(DATA, 0, 1, b"")], 1),
        ([frame(HEADERS, 0, 1, ECHO), frame(CONTINUATION, END_HEADERS, 3, b"")], 1),
        ([frame(HEADERS, 0, 1, b"")] + [frame(CONTINUATION, 0, 1, b"")] * 9, 11),
        ([frame(HEADERS, END_HEADERS, 1, b"\0\x05ab")], 9),
        ([frame(HEADERS, END_HEADERS | PADDED, 1, b"\xff" + ECHO)], 1),
        ([frame(HEADERS, END_HEADERS | HAS_PRIORITY, 1, b"abc")], 6),
        ([frame(DATA, 0, 1, b"")], 1),
        ([frame(HEADERS, END_HEADERS, 1, ECHO), frame(DATA, PADDED, 1, b"\x05abc")], 1),
        ([frame(HEADERS, END_HEADERS, 1, ECHO), frame(DATA, PADDED, 1, b"")], 6),
        ([frame(WINDOW_UPDATE, 0, 0, bytes(4))], 1),
        ([frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff")], 3),
        ([frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\1")], 1),
        ([frame(WINDOW_UPDATE, 0, 0, b"\0\0\1")], 6),
        ([frame(RST_STREAM, 0, 1, bytes(4))], 1),
        ([frame(RST_STREAM, 0, 0, bytes(4))], 1),
        ([frame(HEADERS, END_HEADERS, 1, ECHO), frame(RST_STREAM, 0, 1, b"")], 6),
        ([frame(PUSH_PROMISE, END_HEADERS, 1, bytes(4))], 1),
        ([frame(PRIORITY, 0, 1, b"")], 6),
        ([frame(SETTINGS, 0, 1)], 1),
        ([frame(SETTINGS, ACK, 0, bytes(6))], 6),
        ([frame(SETTINGS, 0, 0, bytes(6 * 65))], 6),
        ([frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 1 << 31))], 3),
        ([frame(SETTINGS, 0, 0, struct.pack(">HI", 5, 16383))], 1),
        ([frame(SETTINGS, 0, 0, struct.pack(">HI", 2, 2))], 1),
        ([frame(6, 0, 1, bytes(8))], 1),
        ([frame(6, 0, 0, bytes(7))], 6),
        ([frame(GOAWAY, 0, 1, bytes(8))], 1),
        ([frame(0xBE, 0, 0, bytes(65_537))], 6),
    ],
)
async def test_breaches_end_the_connection(frames: list[bytes], code: int) -> None:
    async with serving() as front, raw(front) as client:
        client.send(*frames)
        assert (await client.receive_until(GOAWAY))[3][4:8] == struct.pack(">I", code)
        await client.closed()
        await check_still_serving(front)


async def test_what_is_sent_to_a_half_closed_stream_ends_the_connection() -> None:
    keep = request_headers(b"/test.Test/Keep")
    for more in (frame(DATA, 0, 1, b"x"), frame(HEADERS, END_HEADERS | END_STREAM, 1, keep)):
        async with serving() as front, raw(front) as client:
            client.send(frame(HEADERS, END_HEADERS, 1, keep))
            client.send(frame(DATA, END_STREAM, 1, message(b"x")), more)
            assert (await client.receive_until(GOAWAY))[3][4:] == struct.pack(">I", 5)


async def test_streams_broken_by_bad_window_updates_count_as_resets() -> None:
    keep = request_headers(b"/test.Test/Keep")
    async with serving(Limits(resets_burst=20, resets_per_s=0)) as front, raw(front) as client:
        for stream_id in range(1, 61, 2):
            client.send(frame(HEADERS, END_HEADERS, stream_id, keep))
            client.send(frame(WINDOW_UPDATE, 0, stream_id, bytes(4)))
        assert (await client.receive_until(RST_STREAM))[3] == struct.pack(">I", 1)
        assert (await client.receive_until(GOAWAY))[3][4:] == struct.pack(">I", 11)


async def test_unknown_frames_are_passed_over() -> None:
    async with serving() as front, raw(front) as client:
        client.send(
            frame(0xBE, 0xFF, 0, bytes(1000)),
            frame(HEADERS, END_HEADERS, 1, ECHO),
            frame(0x10, 0, 0, b"\0\0\0\1u=1"),
            frame(DATA, END_STREAM, 1, message(b"x")),
        )
        assert (await client.receive_until(DATA))[3] == message(b"x")


async def test_a_message_larger_than_the_windows_comes_as_they_open() -> None:
    body = bytes(range(256)) * 800
    small = PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 10_000))
    async with serving() as front, raw(front, small) as client:
        client.send(frame(HEADERS, END_HEADERS, 1, ECHO))
        whole = message(body)
        for at in range(0, len(whole), 16_000):
            client.send(frame(DATA, 0, 1, whole[at : at + 16_000]))
        client.send(frame(DATA, END_STREAM, 1))
        got = b""
        while len(got) < len(whole):
            *_, part = await client.receive_until(DATA)
            got += part
            assert len(part) <= 16_384
            if len(got) == 10_000:  # all that the stream's window holds: a larger first window
                client.send(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 30_000)))
            elif len(got) >= 30_000:
                increment = struct.pack(">I", len(part))
                client.send(frame(WINDOW_UPDATE, 0, 1, increment))
                client.send(frame(WINDOW_UPDATE, 0, 0, increment))
        assert got == whole
        assert (await client.receive_until(HEADERS))[1] & END_STREAM


async def test_a_client_that_sends_much_is_given_windows_again() -> None:
    limits = Limits(stream_window_bytes=100_000, connection_window_bytes=200_000)
    async with serving(limits) as front, raw(front) as client:
        client.send(frame(HEADERS, END_HEADERS, 1, request_headers(b"/test.Test/Chat")))
        given = {0: 0, 1: 0}
        for _ in range(30):
            client.send(frame(DATA, 0, 1, message(bytes(9_995))))
            while True:
                kind, _, on, payload = await client.receive()
                if kind == WINDOW_UPDATE:
                    given[on] += int.from_bytes(payload, "big")
                elif kind == DATA:
                    client.send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", len(payload))))
                    client.send(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", len(payload))))
                    break
        # The connection's window is opened from the protocol's 65,535 at the beginning.
        assert given[0] - (200_000 - 65_535) >= 200_000
        assert given[1] >= 250_000


async def test_who_overruns_a_window_is_cut_off() -> None:
    limits = Limits(stream_window_bytes=70_000, request_bytes_max=1 << 20)
    async with serving(limits) as front, raw(front) as client:
        client.send(frame(HEADERS, END_HEADERS, 1, ECHO), frame(DATA, 0, 1, message(b"")[:4]))
        await until(lambda: front.server.connection_count == 1)
        client.send(frame(HEADERS, END_HEADERS, 3, ECHO), frame(0, 0, 3, bytes(65_537)))
        assert (await client.receive_until(GOAWAY))[3][4:] == struct.pack(">I", 6)


async def test_answers_use_the_clients_table() -> None:
    """Two fields enter it once, and are one byte each from then on."""

    def ask(one: int) -> bytes:
        body = frame(DATA, END_STREAM, one, message(b"x"))
        return frame(HEADERS, END_HEADERS, one, ECHO) + body

    async with serving() as front, raw(front) as client:
        client.send(ask(1), ask(3), ask(5))
        assert await blocks_of_answer(client, 1) == [
            b"\x88\x5f" + CONTENT_TYPE,
            b"\x40" + STATUS_OK,
        ]
        assert await blocks_of_answer(client, 3) == [b"\x88\xbf", b"\xbe"]
        # A smaller table: it is emptied, and used no more.
        client.send(frame(SETTINGS, 0, 0, struct.pack(">HI", 1, 100)))
        assert await blocks_of_answer(client, 5) == [b"\x88\xbf", b"\xbe"]
        for one in (7, 9):
            client.send(ask(one))
            first = b"\x20" if one == 7 else b""
            assert await blocks_of_answer(client, one) == [
                first + b"\x88" + literal(b"content-type", b"application/grpc"),
                literal(b"grpc-status", b"0"),
            ]


async def test_a_status_longer_than_a_frame_comes_in_pieces() -> None:
    text = b"3 " + b"because " * 4000
    async with serving() as front, raw(front) as client:
        client.send(frame(HEADERS, END_HEADERS, 1, request_headers(b"/test.Test/Fail")))
        whole = message(text)
        client.send(frame(DATA, 0, 1, whole[:16_000]), frame(DATA, 0, 1, whole[16_000:]))
        client.send(frame(DATA, END_STREAM, 1))
        _, flags, _, block = await client.receive_until(HEADERS)
        assert flags == END_STREAM
        while True:
            kind, flags, _, more = await client.receive()
            assert kind == CONTINUATION
            block += more
            if flags & END_HEADERS:
                break
        assert block.endswith(b"because ")
        await check_still_serving(front)
