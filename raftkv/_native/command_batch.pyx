"""Gather commands into the bytes of one Raft entry, and give the answers back.

Layout, little-endian: u64 origin member id, u64 batch id, u32 count, then for each command
u8 kind, u32 length, payload.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from raftkv._native.padded_message cimport PaddedMessage
from raftkv._native.wire cimport Span, span_of, span_size

__all__ = ["CommandBatch", "answer", "read_header"]

cdef enum:
    CAPACITY_FIRST = 4096
    LARGE_BYTES = 32 << 10   # of a payload: a copy that is saved is worth the look


cdef class CommandBatch:
    """Commands in the order they came, with who waits for each."""

    def __cinit__(self):
        self.waiters = []

    def __dealloc__(self):
        PyMem_Free(self.data)

    def __len__(self):
        return len(self.waiters)

    cdef int reserve(self, Py_ssize_t extra) except -1:
        cdef Py_ssize_t capacity = self.capacity or CAPACITY_FIRST
        cdef void *grown
        while capacity < self.data_bytes + extra:
            capacity *= 2
        if capacity != self.capacity:
            grown = PyMem_Realloc(self.data, capacity)
            if grown == NULL:
                raise MemoryError
            self.data = <char *> grown
            self.capacity = capacity
        return 0

    cdef int copy(self, const char *payload, Py_ssize_t length) except -1:
        """Make room for the bytes and put them there."""
        self.reserve(length)
        memcpy(self.data + self.data_bytes, payload, length)
        self.data_bytes += length
        return 0

    cdef int begin(self, unsigned char kind, Py_ssize_t length, waiter) except -1:
        """Write the head of a command, whose payload of so many bytes must follow."""
        cdef char[COMMAND_BYTES] head
        cdef uint32_t stored = <uint32_t> length
        cdef Span earlier
        if length > 0x7FFFFFFF:
            raise ValueError("a command has less than 2 GiB")
        if self.last is not None:
            earlier = self.last_payload()
            self.copy(<const char *> earlier.at, span_size(earlier))
            self.keep(None, 0, False)
        head[0] = <char> kind
        memcpy(head + 1, &stored, 4)
        self.reserve(COMMAND_BYTES if length >= LARGE_BYTES else COMMAND_BYTES + length)
        self.copy(head, COMMAND_BYTES)
        self.size_bytes += COMMAND_BYTES + length
        self.waiters.append(waiter)
        return 0

    cdef Span last_payload(self) noexcept:
        """Return what follows `data`, good until `last` dies; only where there is `last`."""
        cdef Span span = span_of(self.last)
        span.at += self.last_at
        return span

    cdef int keep(self, bytes last, Py_ssize_t last_at, bint owns_last) except -1:
        """Have the command's payload follow when the batch is sealed."""
        self.last = last
        self.last_at = last_at
        self.owns_last = owns_last
        return 0

    def add(self, unsigned char kind, bytes payload not None, waiter):
        """Append one command; its payload is copied once, or twice before another. O(length)."""
        cdef Py_ssize_t length = PyBytes_GET_SIZE(payload)
        self.begin(kind, length, waiter)
        if length >= LARGE_BYTES:
            self.keep(payload, 0, False)
        else:
            self.copy(PyBytes_AS_STRING(payload), length)

    def add_padded(self, unsigned char kind, PaddedMessage message not None, waiter):
        """Append one command and take its message, which is not copied where it stays alone."""
        if message.headroom != HEADROOM_BYTES:
            raise ValueError(f"a command needs a headroom of {HEADROOM_BYTES} bytes")
        self.begin(kind, span_size(message.span()), waiter)
        self.keep(message.take(), HEADROOM_BYTES, True)

    def seal(self, uint64_t origin, uint64_t batch_id):
        """Return the batch as the bytes of an entry; they are new ones at each call."""
        cdef uint32_t count = <uint32_t> len(self.waiters)
        cdef bint is_in_place = count == 1 and self.owns_last
        cdef bytes sealed = self.last if is_in_place else (
            PyBytes_FromStringAndSize(NULL, HEADER_BYTES + self.size_bytes))
        cdef char *out = PyBytes_AS_STRING(sealed)
        cdef Span payload
        memcpy(out, &origin, 8)
        memcpy(out + 8, &batch_id, 8)
        memcpy(out + 16, &count, 4)
        memcpy(out + HEADER_BYTES, self.data, self.data_bytes)
        if self.last is not None and not is_in_place:
            payload = self.last_payload()
            memcpy(out + HEADER_BYTES + self.data_bytes, payload.at, span_size(payload))
        self.owns_last = False
        return sealed


def read_header(bytes batch not None):
    """Return (origin, batch id, count, kind of the first command). Raises ValueError if cut."""
    cdef const char *data = PyBytes_AS_STRING(batch)
    cdef uint64_t origin, batch_id
    cdef uint32_t count
    if PyBytes_GET_SIZE(batch) < HEADER_BYTES + COMMAND_BYTES:
        raise ValueError("a batch has a header and at least one command")
    memcpy(&origin, data, 8)
    memcpy(&batch_id, data + 8, 8)
    memcpy(&count, data + 16, 4)
    return origin, batch_id, count, <uint8_t> data[HEADER_BYTES]


def check_batch(bytes batch not None):
    """Return the batch id. ValueError for what `read_commands` refuses; nothing is copied."""
    cdef const char *data = PyBytes_AS_STRING(batch)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(batch), place = HEADER_BYTES
    cdef uint32_t length, number
    _origin, batch_id, count, _kind = read_header(batch)
    for number in range(count):
        if size - place < COMMAND_BYTES:
            raise ValueError("a batch ends inside a command")
        memcpy(&length, data + place + 1, 4)
        place += COMMAND_BYTES + <Py_ssize_t> length
    if place != size or not count:
        raise ValueError("a batch is not as long as its commands")
    return batch_id


def read_commands(bytes batch not None):
    """Return the (kind, payload) pairs of a batch. Raises ValueError where it is malformed."""
    cdef const char *data = PyBytes_AS_STRING(batch)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(batch), place = HEADER_BYTES
    cdef uint32_t length, number
    cdef list commands = []
    for number in range(read_header(batch)[2]):
        if size - place < COMMAND_BYTES:
            raise ValueError("a batch ends inside a command")
        memcpy(&length, data + place + 1, 4)
        if size - place - COMMAND_BYTES < <Py_ssize_t> length:
            raise ValueError("a batch ends inside a command")
        commands.append(
            (<uint8_t> data[place],
             PyBytes_FromStringAndSize(data + place + COMMAND_BYTES, length))
        )
        place += COMMAND_BYTES + <Py_ssize_t> length
    if place != size:
        raise ValueError("a batch has bytes after its last command")
    return commands


def answer(list waiters not None, list results not None, dict errors not None):
    """Give each waiter its result: bytes to `reply`, an error's number to `fail`.

    A tuple is an opaque command that Python handled: the answer is empty. `errors` maps numbers to
    (gRPC status, text). Both lists have the same length.
    """
    cdef Py_ssize_t place
    if len(waiters) != len(results):
        raise ValueError("as many results as waiters are needed")
    for place in range(len(waiters)):
        waiter = waiters[place]
        result = results[place]
        if type(result) is bytes:
            waiter.reply(result)
        elif type(result) is tuple:
            waiter.reply(b"")
        else:
            status, text = errors[result]
            waiter.fail(status, text)
