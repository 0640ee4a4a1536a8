"""Raft messages as the body of a frame between members, and back; see the .pxd for the bytes."""

from cpython.buffer cimport PyBUF_READ
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from zlib_ng import zlib_ng

from raftkv.raft.configuration import Configuration
from raftkv.raft.messages import Entry, EntryKind, Message, MessageType, SnapshotMetadata

__all__ = ["decode", "encode", "encode_frame", "messages_of_frame"]

cdef object crc32 = zlib_ng.crc32
cdef list KINDS = [EntryKind(number) for number in range(len(EntryKind))]
cdef list TYPES = [None] + [MessageType(number) for number in range(1, len(MessageType) + 1)]


cdef inline void put(uint8_t **out, const void *value, size_t size) noexcept nogil:
    memcpy(out[0], value, size)
    out[0] += size


cdef inline void get(const uint8_t **at, void *value, size_t size) noexcept nogil:
    memcpy(value, at[0], size)
    at[0] += size


def encode(given not None):
    """Return the body. O(bytes); each entry's data is copied once.

    Raises OverflowError for a number that is no u64, or a batch of more than 4 GiB.
    """
    return packed(tuple(given), 0)


def encode_frame(given not None):
    """Return the whole frame; its length is not looked at. Costs and raises as `encode` does."""
    cdef bytes frame = packed(tuple(given), FRAME_HEAD_BYTES)
    cdef uint8_t *out = <uint8_t *> PyBytes_AS_STRING(frame)
    cdef uint32_t size = <uint32_t> (PyBytes_GET_SIZE(frame) - LENGTH_BYTES)
    cdef uint32_t crc
    out[CHECKED_AT] = MESSAGES_FRAME
    crc = checksum(out + CHECKED_AT, PyBytes_GET_SIZE(frame) - CHECKED_AT)
    put(&out, &size, LENGTH_BYTES)
    put(&out, &crc, CHECKSUM_BYTES)
    return frame


cdef uint32_t checksum(const uint8_t *data, Py_ssize_t size) except? 0:
    return crc32(PyMemoryView_FromMemory(<char *> data, size, PyBUF_READ))


cdef bytes packed(tuple messages, Py_ssize_t room):
    """Return the body behind `room` bytes that are not set."""
    cdef Py_ssize_t size = room + COUNT_BYTES
    cdef list configurations = []
    cdef bytes body, data
    cdef uint8_t *out
    cdef uint32_t count = <uint32_t> len(messages)
    for message in messages:
        size += HEAD_BYTES
        for entry in message.entries:
            data = entry.data
            size += ENTRY_BYTES + PyBytes_GET_SIZE(data)
        if message.snapshot is not None:
            data = message.snapshot.configuration.encode()
            size += SNAPSHOT_BYTES + PyBytes_GET_SIZE(data)
            configurations.append(data)
    body = PyBytes_FromStringAndSize(NULL, size)
    out = <uint8_t *> PyBytes_AS_STRING(body) + room
    put(&out, &count, COUNT_BYTES)
    for message in messages:
        put_message(&out, message, configurations)
    return body


cdef int put_message(uint8_t **out, object message, list configurations) except -1:
    cdef Head head
    cdef tuple entries = message.entries
    cdef object snapshot = message.snapshot
    head.type = message.type
    head.flags = (
        (FLAG_REJECT if message.reject else 0)
        | (FLAG_FORCE if message.force else 0)
        | (FLAG_SNAPSHOT if snapshot is not None else 0)
    )
    head.entry_count = <uint32_t> len(entries)
    head.to = message.to
    head.sender = message.sender
    head.term = message.term
    head.log_term = message.log_term
    head.index = message.index
    head.commit = message.commit
    head.reject_hint = message.reject_hint
    head.context = message.context
    put(out, &head, HEAD_BYTES)
    if snapshot is not None:
        put_snapshot(out, snapshot, configurations.pop(0))
    for entry in entries:
        put_entry(out, entry)
    return 0


cdef int put_snapshot(uint8_t **out, object snapshot, bytes configuration) except -1:
    cdef SnapshotHead head
    head.index = snapshot.index
    head.term = snapshot.term
    head.size = <uint32_t> PyBytes_GET_SIZE(configuration)
    put(out, &head, SNAPSHOT_BYTES)
    put(out, PyBytes_AS_STRING(configuration), head.size)
    return 0


cdef int put_entry(uint8_t **out, object entry) except -1:
    cdef EntryHead head
    cdef bytes data = entry.data
    head.term = entry.term
    head.checksum = entry.checksum
    head.size = PyBytes_GET_SIZE(data)
    head.kind = entry.kind
    put(out, &head, ENTRY_BYTES)
    put(out, PyBytes_AS_STRING(data), head.size)
    return 0


def decode(bytes body not None):
    """Return the messages of a body. Raises ValueError that says what is out of place."""
    cdef const uint8_t *at = <const uint8_t *> PyBytes_AS_STRING(body)
    return unpacked(at, at + PyBytes_GET_SIZE(body))


def messages_of_frame(bytes data not None, uint64_t sender, uint64_t receiver):
    """Return the messages of `data` if it is one whole frame of them, from one to the other.

    None for all else, right or wrong, and for frames above `SHORT_FRAME_BYTES_MAX`.
    """
    cdef const uint8_t *at = <const uint8_t *> PyBytes_AS_STRING(data)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
    cdef uint32_t length, crc
    cdef list messages
    if not FRAME_HEAD_BYTES <= size <= SHORT_FRAME_BYTES_MAX:
        return None
    memcpy(&length, at, LENGTH_BYTES)
    memcpy(&crc, at + LENGTH_BYTES, CHECKSUM_BYTES)
    if (
        length + LENGTH_BYTES != size
        or at[CHECKED_AT] != MESSAGES_FRAME
        or checksum(at + CHECKED_AT, size - CHECKED_AT) != crc
    ):
        return None
    try:
        messages = unpacked(at + FRAME_HEAD_BYTES, at + size)
    except ValueError:
        return None
    for message in messages:
        if message.sender != sender or message.to != receiver:
            return None
    return messages


cdef list unpacked(const uint8_t *at, const uint8_t *end):
    cdef uint32_t count
    cdef list messages = []
    if end - at < COUNT_BYTES:
        raise ValueError("the number of messages is missing")
    get(&at, &count, COUNT_BYTES)
    while count:
        count -= 1
        messages.append(get_message(&at, end))
    if at != end:
        raise ValueError(f"{end - at} bytes too many behind the messages")
    return messages


cdef object get_message(const uint8_t **at, const uint8_t *end):
    cdef Head head
    cdef object snapshot = None
    if end - at[0] < HEAD_BYTES:
        raise ValueError("a message is cut short")
    get(at, &head, HEAD_BYTES)
    if not 1 <= head.type < len(TYPES):
        raise ValueError(f"unknown message type {head.type}")
    if head.flags & ~FLAGS_KNOWN:
        raise ValueError(f"unknown flags {head.flags:#x}")
    if head.flags & FLAG_SNAPSHOT:
        snapshot = get_snapshot(at, end)
    if head.entry_count > <size_t> (end - at[0]) // ENTRY_BYTES:
        raise ValueError("a message's entries are cut short")
    if (head.term | head.log_term | head.index | head.commit | head.reject_hint) > NUMBER_MAX:
        raise ValueError("a term or an index is out of range")
    if head.index > NUMBER_MAX - head.entry_count:
        raise ValueError("an entry has no index")
    return Message(
        TYPES[head.type],
        head.to,
        head.sender,
        head.term,
        head.log_term,
        head.index,
        head.commit,
        get_entries(at, end, head.index, head.entry_count) if head.entry_count else (),
        (head.flags & FLAG_REJECT) != 0,
        head.reject_hint,
        head.context,
        (head.flags & FLAG_FORCE) != 0,
        snapshot,
    )


cdef tuple get_entries(
    const uint8_t **at, const uint8_t *end, uint64_t index, uint32_t count
):
    cdef list entries = []
    cdef EntryHead head
    while count:
        count -= 1
        index += 1
        if end - at[0] < ENTRY_BYTES:
            raise ValueError("an entry is cut short")
        get(at, &head, ENTRY_BYTES)
        if head.kind >= len(KINDS):
            raise ValueError(f"unknown entry kind {head.kind}")
        if head.term > NUMBER_MAX:
            raise ValueError("an entry's term is out of range")
        if head.size > <size_t> (end - at[0]):
            raise ValueError("an entry's data is cut short")
        entries.append(
            Entry(
                head.term,
                index,
                KINDS[head.kind],
                PyBytes_FromStringAndSize(<const char *> at[0], head.size),
                head.checksum,
            )
        )
        at[0] += head.size
    return tuple(entries)


cdef object get_snapshot(const uint8_t **at, const uint8_t *end):
    cdef SnapshotHead head
    if end - at[0] < SNAPSHOT_BYTES:
        raise ValueError("a snapshot's metadata is cut short")
    get(at, &head, SNAPSHOT_BYTES)
    if (head.index | head.term) > NUMBER_MAX:
        raise ValueError("a snapshot's term or index is out of range")
    if head.size > <size_t> (end - at[0]):
        raise ValueError("a snapshot's configuration is cut short")
    configuration = Configuration.decode(
        PyBytes_FromStringAndSize(<const char *> at[0], head.size)
    )
    at[0] += head.size
    return SnapshotMetadata(head.index, head.term, configuration)
