"""Small encodings of the front end: output buffers, header fields, gRPC timeouts and texts."""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy

cdef enum:
    GRPC_PREFIX_BYTES = 5        # compressed flag, then the message length, big-endian

cdef struct OutBuffer:
    uint8_t *data                # PyMem; the owner frees it
    size_t length
    size_t capacity

# Make room for `length` more bytes, by doubling.
cdef int out_grow(OutBuffer *out, size_t length) except -1
cdef bytes percent_encoded(str text)
cdef double parse_timeout(const uint8_t *value, size_t length) noexcept
# Encode pairs of bytes in HPACK, each literally and without a trace in the decoder's table.
cdef bytes literal_fields(list fields)


# Return where `length` bytes may be written; `out.length` is the caller's to raise.
cdef inline uint8_t *out_room(OutBuffer *out, size_t length) except NULL:
    if out.length + length > out.capacity:
        out_grow(out, length)
    return out.data + out.length


cdef inline int out_append(OutBuffer *out, const void *data, size_t length) except -1:
    memcpy(out_room(out, length), data, length)
    out.length += length
    return 0


cdef inline void encode_prefix(uint8_t *prefix, uint32_t size) noexcept:
    """Write the prefix of an uncompressed gRPC message."""
    prefix[0] = 0
    prefix[1] = size >> 24
    prefix[2] = (size >> 16) & 0xFF
    prefix[3] = (size >> 8) & 0xFF
    prefix[4] = size & 0xFF
