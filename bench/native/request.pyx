"""Requests as templates: bytes with holes for what changes from one request to the next."""

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from bench.native.client cimport Call, call_room
from bench.native.nghttp2_client cimport (
    NGHTTP2_NV_FLAG_NO_COPY_NAME, NGHTTP2_NV_FLAG_NO_COPY_VALUE, nghttp2_nv,
)

cdef bytes AUTHORITY = b"bench"
KINDS = {"put": PUT, "range": RANGE, "txn": TXN, "keep_alive": KEEP_ALIVE, "other": OTHER}


cdef int set_header(nghttp2_nv *header, const char *name, size_t name_length, const char *value,
                    size_t value_length) noexcept nogil:
    header.name = <uint8_t *>name
    header.namelen = name_length
    header.value = <uint8_t *>value
    header.valuelen = value_length
    header.flags = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE
    return 0


cdef int template_begin(Template *template, operation) except -1:
    """Take over a `bench.operation.Operation`, whose `path` must outlive the template."""
    cdef bytes data = operation.framed
    cdef bytes path = operation.path
    cdef Hole *hole
    template.kind = KINDS[operation.kind]
    template.weight = operation.weight
    template.span = operation.span
    template.length = len(data)
    template.hole_count = len(operation.holes)
    template.data = <uint8_t *>malloc(max(1, len(data)))
    template.holes = <Hole *>calloc(max(1, template.hole_count), sizeof(Hole))
    if template.data == NULL or template.holes == NULL:
        raise MemoryError
    memcpy(template.data, <const char *>data, len(data))
    for i, (kind, at, width, delta) in enumerate(operation.holes):
        hole = &template.holes[i]
        hole.kind = {"digits": DIGITS, "table": TABLE, "stamp": STAMP}[kind]
        hole.at, hole.width, hole.delta = at, width, delta
        if at < 0 or at + (8 if hole.kind == STAMP else width) > len(data):
            raise ValueError("a hole lies outside of its request")
    set_path(template, path)
    return 0


cdef int set_path(Template *template, bytes path) except -1:
    """Point the headers at a path, whose bytes the caller keeps."""
    set_header(&template.headers[0], b":method", 7, b"POST", 4)
    set_header(&template.headers[1], b":scheme", 7, b"http", 4)
    set_header(&template.headers[2], b":path", 5, path, len(path))
    set_header(&template.headers[3], b":authority", 10, AUTHORITY, len(AUTHORITY))
    set_header(&template.headers[4], b"content-type", 12, b"application/grpc", 16)
    set_header(&template.headers[5], b"te", 2, b"trailers", 8)
    return 0


cdef void template_free(Template *template) noexcept nogil:
    free(template.data)
    free(template.holes)


cdef void fill_digits(uint8_t *to, int width, int64_t number) noexcept nogil:
    cdef int i
    for i in range(width - 1, -1, -1):
        to[i] = <uint8_t>(48 + number % 10)
        number //= 10


cdef void fill_varint(uint8_t *to, int width, uint64_t value) noexcept nogil:
    """Write a varint of exactly `width` bytes: padded, as protobuf allows."""
    cdef int i
    for i in range(width - 1):
        to[i] = <uint8_t>((value & 0x7F) | 0x80)
        value >>= 7
    to[width - 1] = <uint8_t>(value & 0x7F)


cdef int template_fill(const Template *template, Call *call, const int64_t *table,
                       int64_t table_length) noexcept nogil:
    """Make the request of the call's number and time. Returns -1 where memory runs out."""
    cdef uint8_t *data = call_room(call, template.length)
    cdef const Hole *hole
    cdef int i
    if data == NULL:
        return -1
    memcpy(data, template.data, template.length)
    for i in range(template.hole_count):
        hole = &template.holes[i]
        if hole.kind == DIGITS:
            fill_digits(data + hole.at, hole.width, call.number + hole.delta)
        elif hole.kind == STAMP:
            memcpy(data + hole.at, &call.intended_ns, 8)
        else:
            fill_varint(data + hole.at, hole.width,
                        <uint64_t>table[call.number] if call.number < table_length else 0)
    return 0
