"""Encoding the parts of a WatchResponse: see `watch_response.pxd`."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcpy


cdef Py_ssize_t varint_bytes(unsigned long long value) noexcept:
    cdef Py_ssize_t size = 1
    while value >= 0x80:
        value >>= 7
        size += 1
    return size


cdef char *copied(char *to, bytes data) noexcept:
    memcpy(to, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
    return to + PyBytes_GET_SIZE(data)


cdef char *field_head(char *to, int tag, unsigned long long number) noexcept:
    """Write a tag and a varint: up to 11 bytes. Returns where they end."""
    to[0] = <char> tag
    to += 1
    while number >= 0x80:
        to[0] = <char> (number | 0x80)
        number >>= 7
        to += 1
    to[0] = <char> number
    return to + 1


cdef bytes events_field(bytes event, bytes previous):
    """Encode one `events` field of a response, `prev_kv` included unless None: one copy of each."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(event)
    cdef Py_ssize_t previous_size = 0
    cdef bytes made
    cdef char *to
    if previous is not None:
        previous_size = PyBytes_GET_SIZE(previous)
        size += 1 + varint_bytes(previous_size) + previous_size
    made = PyBytes_FromStringAndSize(NULL, 1 + varint_bytes(size) + size)
    to = copied(field_head(PyBytes_AS_STRING(made), 0x5A, size), event)
    if previous is not None:
        copied(field_head(to, 0x1A, previous_size), previous)
    return made


cdef bytes delimited(int tag, bytes payload):
    cdef Py_ssize_t size = PyBytes_GET_SIZE(payload)
    cdef bytes made = PyBytes_FromStringAndSize(NULL, 1 + varint_bytes(size) + size)
    copied(field_head(PyBytes_AS_STRING(made), tag, size), payload)
    return made


cdef bytes watch_id_field(long long watch_id):
    cdef char[11] made
    if watch_id == 0:
        return b""
    return made[:field_head(made, 0x10, <unsigned long long> watch_id) - made]
