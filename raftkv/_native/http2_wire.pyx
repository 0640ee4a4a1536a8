"""Small encodings of the front end: the output buffer, header fields, gRPC timeouts and texts."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Realloc
from libc.stdint cimport int32_t, uint8_t
from libc.stdio cimport snprintf
from libc.string cimport memcpy

from raftkv._native.nghttp2 cimport *

cdef enum:
    TIMEOUT_DIGITS_MAX = 8
    HTTP_FIELDS_MAX = 16


cdef int out_append(OutBuffer *out, const void *data, size_t length) except -1:
    """Append `length` bytes, growing the buffer by doubling."""
    cdef size_t capacity
    cdef void *grown
    if out.length + length > out.capacity:
        capacity = max(out.capacity * 2, out.length + length, 65536)
        grown = PyMem_Realloc(out.data, capacity)
        if grown == NULL:
            raise MemoryError
        out.data = <uint8_t *>grown
        out.capacity = capacity
    memcpy(out.data + out.length, data, length)
    out.length += length
    return 0


cdef bytes percent_encoded(str text):
    """Encode a status message: bytes outside 0x20..0x7e and '%' become %XX of its UTF-8."""
    cdef bytes raw = text.encode("utf-8", "replace")
    if all(0x20 <= byte <= 0x7E and byte != 0x25 for byte in raw):
        return raw
    return b"".join(
        b"%c" % byte if 0x20 <= byte <= 0x7E and byte != 0x25 else b"%%%02X" % byte
        for byte in raw)


cdef double parse_timeout(const uint8_t *value, size_t length) noexcept:
    """Return seconds of a grpc-timeout value ("100m"), or -1 where it is malformed."""
    cdef double amount = 0
    cdef size_t i
    if length < 2 or length > TIMEOUT_DIGITS_MAX + 1:
        return -1
    for i in range(length - 1):
        if not c'0' <= value[i] <= c'9':
            return -1
        amount = amount * 10 + (value[i] - c'0')
    cdef uint8_t unit = value[length - 1]
    if unit == c'H':
        return amount * 3600
    if unit == c'M':
        return amount * 60
    if unit == c'S':
        return amount
    if unit == c'm':
        return amount / 1e3
    if unit == c'u':
        return amount / 1e6
    if unit == c'n':
        return amount / 1e9
    return -1


cdef int submit_fields(nghttp2_session *session, int32_t stream_id, list fields,
                       nghttp2_data_provider *provider) except -1:
    """Begin an answer with header fields, pairs of bytes; the body is the provider's, if any."""
    cdef nghttp2_nv[HTTP_FIELDS_MAX] nva
    cdef bytes name, value
    cdef int count = 0
    if len(fields) > HTTP_FIELDS_MAX:
        raise ValueError("more header fields than an answer may have")
    for name, value in fields:
        nva[count] = field(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name),
                           PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), 0)
        count += 1
    return 0 if nghttp2_submit_response(session, stream_id, nva, count, provider) == 0 else 1


cdef nghttp2_nv STATUS_200 = field(":status", 7, "200", 3, CONSTANT_FIELD)
cdef nghttp2_nv CONTENT_TYPE_GRPC = field(
    "content-type", 12, "application/grpc", 16, CONSTANT_FIELD)
cdef nghttp2_nv GRPC_STATUS_OK = field("grpc-status", 11, "0", 1, CONSTANT_FIELD)


cdef int submit_grpc_headers(
    nghttp2_session *session, int32_t stream_id, nghttp2_data_provider *provider
) except -1:
    """Submit the headers of an answer whose messages `provider` gives."""
    cdef nghttp2_nv[2] nva
    nva[0] = STATUS_200
    nva[1] = CONTENT_TYPE_GRPC
    if nghttp2_submit_response(session, stream_id, nva, 2, provider) == NGHTTP2_ERR_NOMEM:
        raise MemoryError
    return 0


cdef int submit_grpc_status(
    nghttp2_session *session, int32_t stream_id, int code, bytes text, bint headers_too
) noexcept:
    """Submit a status: after the data, or as the whole answer (`headers_too`)."""
    cdef nghttp2_nv[4] nva
    cdef char[12] digits
    cdef int count = 0
    if headers_too:
        nva[0] = STATUS_200
        nva[1] = CONTENT_TYPE_GRPC
        count = 2
    if code == 0:
        nva[count] = GRPC_STATUS_OK
        count += 1
    else:
        nva[count] = field("grpc-status", 11, digits, snprintf(digits, 12, "%d", code), 0)
        nva[count + 1] = field("grpc-message", 12, PyBytes_AS_STRING(text),
                               PyBytes_GET_SIZE(text), 0)
        count += 2
    if headers_too:
        return nghttp2_submit_response(session, stream_id, nva, count, NULL)
    return nghttp2_submit_trailer(session, stream_id, nva, count)
