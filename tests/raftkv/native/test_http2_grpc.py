"""The front end as grpcio sees it."""

import ast
import asyncio

import grpc
import pytest

from tests.raftkv.native.http2_serving import Serving, serving, until

UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def channel_to(front: Serving) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(front.target, options=UNLIMITED)


@pytest.mark.parametrize("size", [0, 1, 5, 16_384, 65_535, 1 << 20, 2 << 20])
async def test_a_message_comes_back_whole(size: int) -> None:
    message = bytes(i * 31 & 0xFF for i in range(256)) * (size // 256 + 1)
    async with serving() as front, channel_to(front) as channel:
        assert await channel.unary_unary("/test.Test/Echo")(message[:size]) == message[:size]


async def test_large_messages_go_both_ways_where_the_limit_allows() -> None:
    from raftkv._native.http2 import Limits

    limits = Limits(request_bytes_max=9 << 20)
    async with serving(limits) as front, channel_to(front) as channel:
        echo = channel.unary_unary("/test.Test/Echo")
        big = [bytes([i]) * (8 << 20) for i in range(3)]
        assert await asyncio.gather(*(echo(m) for m in big)) == big


async def test_status_and_text_of_an_error_arrive_byte_for_byte() -> None:
    async with serving() as front, channel_to(front) as channel:
        for text in ("etcdserver: key not found", "100% größer ✓\n"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary("/test.Test/Fail")(f"3 {text}".encode())
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert caught.value.details() == text


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/test.Test/Nothing", "unknown method Nothing for service test.Test"),
        ("/other.Other/Echo", "unknown service other.Other"),
    ],
)
async def test_unknown_paths_are_unimplemented_in_grpc_go_s_words(path: str, text: str) -> None:
    async with serving() as front, channel_to(front) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(path)(b"x")
        assert (caught.value.code(), caught.value.details()) == (
            grpc.StatusCode.UNIMPLEMENTED,
            text,
        )


async def test_a_message_beyond_the_limit_is_refused_and_the_connection_lives() -> None:
    async with serving() as front, channel_to(front) as channel:
        echo = channel.unary_unary("/test.Test/Echo")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echo(b"x" * 3_000_000)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert caught.value.details() == (
            "grpc: received message larger than max (3000000 vs. 2097152)"
        )
        assert await echo(b"still here") == b"still here"
        assert front.server.connection_count == 1


async def test_messages_packed_with_gzip_are_unpacked() -> None:
    async with serving() as front, channel_to(front) as channel:
        echo = channel.unary_unary("/test.Test/Echo")
        for size in (1, 10_000, 2_000_000):
            message = b"x" * size
            assert await echo(message, compression=grpc.Compression.Gzip) == message
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echo(b"x" * 20_000_000, compression=grpc.Compression.Gzip)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "after decompression larger than max" in (caught.value.details() or "")
        assert await echo(b"still here") == b"still here"


async def test_messages_packed_otherwise_are_refused_by_name() -> None:
    async with serving() as front, channel_to(front) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/test.Test/Echo")(
                b"x" * 10_000, compression=grpc.Compression.Deflate
            )
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert "not installed for grpc-encoding" in (caught.value.details() or "")


async def test_many_calls_at_once_each_get_their_own_answer() -> None:
    async with serving() as front, channel_to(front) as channel:
        for method in ("Echo", "Later"):
            call = channel.unary_unary(f"/test.Test/{method}")
            messages = [b"%d" % i for i in range(1000)]
            assert await asyncio.gather(*(call(m) for m in messages)) == messages


async def test_metadata_deadline_and_peer_reach_the_handler() -> None:
    async with serving() as front, channel_to(front) as channel:
        answer = await channel.unary_unary("/test.Test/Facts")(
            b"", timeout=20, metadata=[("token", "abc"), ("data-bin", b"\0\1")]
        )
        path, metadata, deadline_s, peer = ast.literal_eval(answer.decode())
        assert path == b"/test.Test/Facts"
        assert (b"token", b"abc") in metadata
        assert 19 < deadline_s <= 20
        assert peer[0] == "127.0.0.1"
        answer = await channel.unary_unary("/test.Test/Facts")(b"")
        assert ast.literal_eval(answer.decode())[2] is None


async def test_a_broken_handler_costs_its_stream_only(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as front, channel_to(front) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/test.Test/Broken")(b"")
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        assert await channel.unary_unary("/test.Test/Echo")(b"x") == b"x"
        assert [record.getMessage() for record in caplog.records] == ["handler failed"]


async def test_a_cancelled_call_is_closed_and_its_late_answer_goes_nowhere() -> None:
    async with serving() as front, channel_to(front) as channel:
        call = channel.unary_unary("/test.Test/Keep")(b"x")
        sending = asyncio.ensure_future(call)
        await until(lambda: len(front.streams) == 1)
        sending.cancel()
        await until(lambda: front.events == ["closed"])
        assert front.streams[0].closed
        assert front.streams[0].reply(b"late") is False
        assert front.streams[0].fail(13, "late") is False


async def test_a_deadline_ends_the_call_at_the_client() -> None:
    async with serving() as front, channel_to(front) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/test.Test/Keep")(b"x", timeout=0.1)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: front.events == ["closed"])


async def test_bidi_streaming_echoes_in_order_and_ends_with_the_client() -> None:
    async with serving() as front, channel_to(front) as channel:
        call = channel.stream_stream("/test.Test/Chat")()
        for i in range(100):
            await call.write(b"%d" % i * (i * 100))
            assert await call.read() == b"%d" % i * (i * 100)
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK
        await until(lambda: front.events == ["half_close", "closed"])


async def test_the_server_may_end_a_stream_with_an_error_after_messages() -> None:
    async with serving() as front, channel_to(front) as channel:
        call = channel.stream_stream("/test.Test/Chat")()
        await call.write(b"one")
        await call.write(b"end 11 etcdserver: mvcc: required revision has been compacted")
        assert await call.read() == b"one"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() is grpc.StatusCode.OUT_OF_RANGE
        assert caught.value.details() == "etcdserver: mvcc: required revision has been compacted"
        await until(lambda: front.events == ["closed"])


async def test_a_flood_of_answers_arrives_whole_and_tells_when_it_has_drained() -> None:
    async with serving() as front, channel_to(front) as channel:
        call = channel.stream_stream("/test.Test/Chat")()
        await call.write(b"first")
        assert await call.read() == b"first"
        drained = asyncio.Event()
        front.streams[0].on_drained = drained.set
        await call.write(b"flood 500")
        await until(lambda: front.streams[0].pending_bytes > 0)
        for _ in range(500):
            assert await call.read() == b"head" + b"tail" * 4096
        await asyncio.wait_for(drained.wait(), 5)
        assert front.streams[0].pending_bytes == 0
        call.cancel()
        await until(lambda: front.events == ["closed"])


async def test_close_ends_what_is_under_way_with_unavailable() -> None:
    async with serving() as front, channel_to(front) as channel:
        calls = [channel.unary_unary("/test.Test/Keep")(b"x") for _ in range(3)]
        gathered = asyncio.gather(*calls, return_exceptions=True)
        await until(lambda: len(front.streams) == 3)
        front.server.close()
        for error in await gathered:
            assert isinstance(error, grpc.aio.AioRpcError)
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            assert error.details() == "etcdserver: server stopped"


async def test_goaway_lets_what_is_under_way_finish() -> None:
    async with serving() as front, channel_to(front) as channel:
        call = asyncio.ensure_future(channel.unary_unary("/test.Test/Keep")(b"x"))
        await until(lambda: len(front.streams) == 1)
        front.server.goaway()
        await asyncio.sleep(0.02)
        assert front.streams[0].reply(b"done")
        assert await call == b"done"
        await until(lambda: front.server.connection_count == 0)
