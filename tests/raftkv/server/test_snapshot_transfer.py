"""What travels beside the chunks of a snapshot."""

import pytest

from raftkv.raft.configuration import Configuration
from raftkv.raft.messages import Message, MessageType, SnapshotMetadata
from raftkv.server import snapshot_protocol
from raftkv.server.snapshot_protocol import SnapshotProtocolError


def test_the_end_of_a_transfer_is_the_leaders_message_with_what_was_streamed() -> None:
    configuration = Configuration(frozenset({1, 2, 3}), learners=frozenset({4}))
    asked = SnapshotMetadata(10, 2, configuration)
    streamed = SnapshotMetadata(15, 3, configuration)
    message = Message(MessageType.SNAPSHOT, 4, 1, 7, snapshot=asked)
    data = snapshot_protocol.encode_install(message, streamed)
    assert snapshot_protocol.decode_install(1, 4, data) == Message(
        MessageType.SNAPSHOT, 4, 1, 7, snapshot=streamed
    )


@pytest.mark.parametrize("size", [0, 23, 24, 30])
def test_a_cut_end_is_refused(size: int) -> None:
    metadata = SnapshotMetadata(15, 3, Configuration(frozenset({1})))
    message = Message(MessageType.SNAPSHOT, 4, 1, 7, snapshot=metadata)
    data = snapshot_protocol.encode_install(message, metadata)
    with pytest.raises(SnapshotProtocolError):
        snapshot_protocol.decode_install(1, 4, data[:size])


def test_places() -> None:
    digest = bytes(range(32))
    assert snapshot_protocol.decode_place(snapshot_protocol.encode_place(9, digest)) == (9, digest)
    with pytest.raises(SnapshotProtocolError):
        snapshot_protocol.decode_place(digest)
