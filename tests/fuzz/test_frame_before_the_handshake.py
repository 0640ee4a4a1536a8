"""What a stranger may send to the peer port before it has said who it is."""

import struct

import pytest

from raftkv.peer.connection import HANDSHAKE_BYTES_MAX, PeerConnection
from raftkv.peer.errors import FrameError
from raftkv.peer.frame import FRAME_BYTES_MAX, FrameType, encode_frame
from tests.fuzz.still_loop import Pipe


def connection(lost: list[Exception | None], frames: list[int]) -> tuple[PeerConnection, Pipe]:
    made = PeerConnection(
        lambda _connection, _type, body: frames.append(len(body)),
        lambda _connection, error: lost.append(error),
    )
    pipe = Pipe()
    made.connection_made(pipe)
    return made, pipe


@pytest.mark.parametrize("size", [HANDSHAKE_BYTES_MAX + 1, FRAME_BYTES_MAX])
def test_a_large_first_frame_ends_the_connection(size: int) -> None:
    """At once: nothing of it is kept."""
    lost: list[Exception | None] = []
    one, pipe = connection(lost, [])
    one.data_received(struct.pack("<II", size, 0))
    assert pipe.closing
    one.connection_lost(None)
    assert isinstance(lost[0], FrameError)


def test_large_frames_may_follow_the_handshake() -> None:
    frames: list[int] = []
    one, pipe = connection([], frames)
    one.introduce(7)
    one.data_received(encode_frame(FrameType.FORWARD, bytes(2 * HANDSHAKE_BYTES_MAX)))
    assert frames == [2 * HANDSHAKE_BYTES_MAX]
    assert not pipe.closing
