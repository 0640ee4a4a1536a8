"""Protobuf wire format for the native modules: see `wire.pxd` for the contracts."""

from libc.stdlib cimport free, realloc
from libc.string cimport memmove


cdef inline int read_varint(Span *span, uint64_t *value) noexcept nogil:
    """Read one varint. 0, or -1 when it runs past the span or past 64 bits."""
    cdef uint64_t result = 0
    cdef int shift = 0
    cdef uint8_t byte
    while span.at < span.end and shift < 7 * VARINT_BYTES_MAX:
        byte = span.at[0]
        span.at += 1
        result |= (<uint64_t>(byte & 127)) << shift
        if byte < 128:
            value[0] = result
            return 0
        shift += 7
    return -1


cdef int next_field(Span *span, Field *field) noexcept nogil:
    cdef uint64_t tag = 0, size = 0
    cdef size_t fixed
    if span.at >= span.end:
        return 0
    if read_varint(span, &tag) < 0 or tag >> 32 or tag < 8:
        return -1
    field.tag = <uint32_t>tag
    field.varint = 0
    field.span.at = NULL
    field.span.end = NULL
    if tag & 7 == 0:
        return 1 if read_varint(span, &field.varint) == 0 else -1
    if tag & 7 == 2:
        if read_varint(span, &size) < 0 or size > span_size(span[0]):
            return -1
        field.span.at = span.at
        span.at += size
        field.span.end = span.at
        return 1
    if tag & 7 == 1:
        fixed = 8
    elif tag & 7 == 5:
        fixed = 4
    else:
        return -1           # groups: no message of ours ever had one
    if span_size(span[0]) < fixed:
        return -1
    memcpy(&field.varint, span.at, fixed)
    span.at += fixed
    return 1


cdef int buffer_grow(Buffer *buffer, size_t more) except -1:
    cdef size_t wanted = buffer.size + more
    cdef size_t capacity = buffer.capacity * 2
    cdef void *data
    if wanted < buffer.size:
        raise MemoryError("buffer size overflows")
    if capacity < BUFFER_BYTES_MIN:
        capacity = BUFFER_BYTES_MIN
    if capacity < wanted:
        capacity = wanted
    data = realloc(buffer.data, capacity)
    if data == NULL:
        raise MemoryError(f"no memory for a buffer of {capacity} bytes")
    buffer.data = <uint8_t *>data
    buffer.capacity = capacity
    return 0


cdef void buffer_free(Buffer *buffer) noexcept nogil:
    free(buffer.data)
    buffer.data = NULL
    buffer.size = 0
    buffer.capacity = 0


cdef int buffer_close(Buffer *buffer, size_t start) except -1:
    cdef size_t size = buffer.size - start
    cdef size_t prefix = varint_size(size)
    buffer_reserve(buffer, prefix)
    memmove(buffer.data + start + prefix, buffer.data + start, size)
    buffer.size = start
    put_varint(buffer, size)
    buffer.size += size
    return 0


cdef int write_bytes(Buffer *buffer, uint8_t tag, const uint8_t *data, size_t size) except -1:
    buffer_reserve(buffer, 1 + VARINT_BYTES_MAX + size)
    put_byte(buffer, tag)
    put_varint(buffer, size)
    put_raw(buffer, data, size)
    return 0


cdef int write_varint_field(Buffer *buffer, uint8_t tag, uint64_t value) except -1:
    if value:
        buffer_reserve(buffer, 1 + VARINT_BYTES_MAX)
        put_byte(buffer, tag)
        put_varint(buffer, value)
    return 0


def decode_fields(data: bytes) -> list[tuple[int, int | bytes]]:
    """Return (tag, value) of each field in order; ValueError when the bytes are not protobuf.

    For tests and tools: the native modules read fields in place.
    """
    cdef Span span
    cdef Field field
    cdef int status
    span.at = <const uint8_t *>data
    span.end = span.at + len(data)
    fields = []
    while True:
        status = next_field(&span, &field)
        if status < 0:
            raise ValueError(f"malformed protobuf {len(data) - (span.end - span.at)} bytes in")
        if status == 0:
            return fields
        if field.tag & 7 == 2:
            fields.append((field.tag, field.span.at[:field.span.end - field.span.at]))
        else:
            fields.append((field.tag, field.varint))
