"""A client's message with room in front of it, where a head is to be written without a copy."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcpy

from raftkv._native.wire cimport Span, span_of

__all__ = ["PaddedMessage"]


cdef class PaddedMessage:
    """A message that can be had once as it is, with its headroom, or copied without it."""

    def __init__(self, bytes message not None, Py_ssize_t headroom):
        cdef Py_ssize_t size = PyBytes_GET_SIZE(message)
        if headroom < 0:
            raise ValueError("headroom is not negative")
        self.data = PyBytes_FromStringAndSize(NULL, headroom + size)
        self.headroom = headroom
        memcpy(PyBytes_AS_STRING(self.data) + headroom, PyBytes_AS_STRING(message), size)

    cdef Span span(self) except *:
        cdef Span span
        if self.data is None:
            raise ValueError("the message was taken already")
        span = span_of(self.data)
        span.at += self.headroom
        return span

    cdef bytes take(self):
        cdef bytes data = self.data
        if data is None:
            raise ValueError("the message was taken already")
        self.data = None
        return data

    def message(self):
        """Return a copy without the headroom, which may be handed to anybody."""
        cdef Span span = self.span()
        return PyBytes_FromStringAndSize(<const char *> span.at, span.end - span.at)


cdef PaddedMessage padded_message(bytes data, Py_ssize_t headroom):
    cdef PaddedMessage padded = PaddedMessage.__new__(PaddedMessage)
    padded.data = data
    padded.headroom = headroom
    return padded
