"""Small encodings of the front end: output buffers, header fields, gRPC timeouts and texts."""

from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Realloc
from libc.stdint cimport uint8_t

cdef enum:
    TIMEOUT_DIGITS_MAX = 8
    FIELDS_MAX = 16
    OUT_AT_FIRST = 64


cdef int out_grow(OutBuffer *out, size_t length) except -1:
    cdef size_t capacity = max(max(out.capacity * 2, out.length + length), OUT_AT_FIRST)
    cdef void *grown = PyMem_Realloc(out.data, capacity)
    if grown == NULL:
        raise MemoryError
    out.data = <uint8_t *>grown
    out.capacity = capacity
    return 0


cdef bytes hpack_string(bytes text):
    """Encode a string as it is, without Huffman's code (RFC 7541 §5.2)."""
    cdef Py_ssize_t rest = PyBytes_GET_SIZE(text) - 127
    if rest < 0:
        return b"%c%b" % (PyBytes_GET_SIZE(text), text)
    encoded = bytearray(b"\x7f")
    while rest >= 128:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    encoded.append(rest)
    return bytes(encoded) + text


cdef bytes literal_fields(list fields):
    cdef bytes name, value
    if len(fields) > FIELDS_MAX:
        raise ValueError("more header fields than an answer may have")
    return b"".join(
        [b"\0" + hpack_string(name.lower()) + hpack_string(value) for name, value in fields])


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
