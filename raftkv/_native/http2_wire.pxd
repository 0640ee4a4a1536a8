"""Small encodings of the front end: the output buffer, header fields, gRPC timeouts and texts."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.string cimport memcmp

from raftkv._native.nghttp2 cimport (
    nghttp2_data_provider, nghttp2_nv, nghttp2_rcbuf, nghttp2_rcbuf_get_buf, nghttp2_session,
    nghttp2_vec,
)

cdef enum:
    GRPC_PREFIX_BYTES = 5        # compressed flag, then the message length, big-endian
    CONSTANT_FIELD = 0x06        # NGHTTP2_NV_FLAG_NO_COPY_NAME | _VALUE: both outlive the session

cdef struct OutBuffer:
    uint8_t *data                # PyMem; the owner frees it
    size_t length
    size_t capacity

cdef int out_append(OutBuffer *out, const void *data, size_t length) except -1
cdef bytes percent_encoded(str text)
cdef double parse_timeout(const uint8_t *value, size_t length) noexcept
cdef int submit_fields(
    nghttp2_session *session, int32_t stream_id, list fields, nghttp2_data_provider *provider
) except -1

cdef int submit_grpc_headers(
    nghttp2_session *session, int32_t stream_id, nghttp2_data_provider *provider
) except -1
# `text` is percent-encoded; it is not looked at where the code is 0.
cdef int submit_grpc_status(
    nghttp2_session *session, int32_t stream_id, int code, bytes text, bint headers_too
) noexcept


cdef inline nghttp2_nv field(const char *name, size_t name_length, const char *value,
                             size_t value_length, uint8_t flags) noexcept:
    cdef nghttp2_nv nv
    nv.name = <uint8_t *>name
    nv.value = <uint8_t *>value
    nv.namelen = name_length
    nv.valuelen = value_length
    nv.flags = flags
    return nv


cdef inline bint equals(nghttp2_vec have, const char *want, size_t length) noexcept:
    return have.len == length and memcmp(have.base, want, length) == 0


cdef inline bytes bytes_of(nghttp2_rcbuf *buf):
    cdef nghttp2_vec vec = nghttp2_rcbuf_get_buf(buf)
    return PyBytes_FromStringAndSize(<char *>vec.base, vec.len)


cdef inline void encode_prefix(uint8_t *prefix, uint32_t size) noexcept:
    """Write the prefix of an uncompressed gRPC message."""
    prefix[0] = 0
    prefix[1] = size >> 24
    prefix[2] = (size >> 16) & 0xFF
    prefix[3] = (size >> 8) & 0xFF
    prefix[4] = size & 0xFF
