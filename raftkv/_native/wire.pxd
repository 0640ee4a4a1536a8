# Protobuf on C memory: reading fields from a span, writing fields to a growing buffer.
#
# Reading never allocates and never leaves the span. A tag is the field number << 3 | wire type: a
# known number under a wrong wire type is unequal to every tag we look for, and so is skipped.

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    VARINT_BYTES_MAX = 10     # a 64-bit varint on the wire
    BUFFER_BYTES_MIN = 256    # first allocation of a buffer

cdef struct Span:
    const uint8_t *at         # next byte to read; NULL only when empty
    const uint8_t *end        # one past the last byte

cdef struct Field:
    uint32_t tag              # field number << 3 | wire type
    uint64_t varint           # wire types 0, 1 and 5
    Span span                 # wire type 2: the bytes; empty otherwise

cdef struct Buffer:
    uint8_t *data             # malloc'ed, owned; NULL until first use
    size_t size               # bytes written
    size_t capacity           # bytes allocated; Invariant: size <= capacity

cdef inline size_t span_size(Span span) noexcept nogil:
    return <size_t>(span.end - span.at)

# Good for as long as the bytes object lives.
cdef inline Span span_of(bytes data) noexcept:
    cdef Span span
    span.at = <const uint8_t *>data
    span.end = span.at + len(data)
    return span

cdef inline size_t varint_size(uint64_t value) noexcept nogil:
    cdef size_t size = 1
    while value >= 128:
        value >>= 7
        size += 1
    return size

# 1: a field was read; 0: the span is used up; -1: malformed.
cdef int next_field(Span *span, Field *field) noexcept nogil

# Make room for `more` bytes after `size`. MemoryError when there is none.
cdef int buffer_grow(Buffer *buffer, size_t more) except -1
cdef void buffer_free(Buffer *buffer) noexcept nogil

# Write the length of everything after `start` in front of it: closes a nested message.
cdef int buffer_close(Buffer *buffer, size_t start) except -1

# `tag`, then `size` bytes; written even when empty.
cdef int write_bytes(Buffer *buffer, uint8_t tag, const uint8_t *data, size_t size) except -1

# `tag`, then a varint; nothing at all for zero, as proto3 asks.
cdef int write_varint_field(Buffer *buffer, uint8_t tag, uint64_t value) except -1

cdef inline int buffer_reserve(Buffer *buffer, size_t more) except -1:
    if buffer.capacity - buffer.size < more:
        return buffer_grow(buffer, more)
    return 0

# The next three write without a check: the caller has reserved.
cdef inline void put_byte(Buffer *buffer, uint8_t value) noexcept nogil:
    buffer.data[buffer.size] = value
    buffer.size += 1

cdef inline void put_varint(Buffer *buffer, uint64_t value) noexcept nogil:
    while value >= 128:
        buffer.data[buffer.size] = <uint8_t>(value | 128)
        buffer.size += 1
        value >>= 7
    buffer.data[buffer.size] = <uint8_t>value
    buffer.size += 1

cdef inline void put_raw(Buffer *buffer, const uint8_t *data, size_t size) noexcept nogil:
    if size:
        memcpy(buffer.data + buffer.size, data, size)
        buffer.size += size
