"""Requests as templates: bytes with holes for what changes from one request to the next."""

from libc.stdint cimport int64_t, uint8_t

from bench.native.client cimport HEADER_COUNT, Call
from bench.native.nghttp2_client cimport nghttp2_nv

cdef enum Kind:
    PUT = 0
    RANGE = 1
    TXN = 2
    KEEP_ALIVE = 3
    OTHER = 4                      # the answer is only counted

cdef enum HoleKind:
    DIGITS = 0                     # the key's number plus `delta`, in decimal, `width` digits
    TABLE = 1                      # the table's value for the number: a varint of `width` bytes
    STAMP = 2                      # when the request was due: nanoseconds, little endian, 8 bytes

cdef struct Hole:
    HoleKind kind
    size_t at
    int width
    int64_t delta

cdef struct Template:
    Kind kind
    int weight                     # how often it is asked for beside the others
    int span                       # keys that one request writes: number, number + 1, ...
    uint8_t *data                  # framed message
    size_t length
    Hole *holes
    int hole_count
    nghttp2_nv[HEADER_COUNT] headers


cdef int template_begin(Template *template, operation) except -1
cdef int set_path(Template *template, bytes path) except -1
cdef void template_free(Template *template) noexcept nogil
cdef int template_fill(const Template *template, Call *call, const int64_t *table,
                       int64_t table_length) noexcept nogil
