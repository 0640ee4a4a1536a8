"""A client's message with room in front of it."""

from raftkv._native.wire cimport Span


# The only owner of `data` until `take` gives it up: so whoever took it may write in front of the
# message although a bytes object is not to change. Nobody has hashed, compared or kept it.
cdef class PaddedMessage:
    cdef bytes data                      # headroom, whose bytes are arbitrary, and the message
    cdef readonly Py_ssize_t headroom

    cdef Span span(self) except *        # of the message alone; good until `data` dies
    cdef bytes take(self)                # all of `data`; once


# The caller has filled `data` and keeps no reference to it.
cdef PaddedMessage padded_message(bytes data, Py_ssize_t headroom)
