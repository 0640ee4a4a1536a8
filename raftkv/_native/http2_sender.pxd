"""The frames that a connection sends."""

from libc.stdint cimport uint8_t, uint32_t

from raftkv._native.http2_stream cimport Http2Session
from raftkv._native.http2_wire cimport OutBuffer

# Append the frames that are due to `out`, until nothing is or `out` has `enough` bytes (and at most
# one frame more). Streams whose answer is complete leave; those with something to tell their
# handler are added to `ended`.
cdef int gather(Http2Session connection, OutBuffer *out, size_t enough) except -1
# Whether `gather` would find something.
cdef bint has_frames(Http2Session connection) noexcept
# Have a frame sent before all answers; at most 64 KiB of payload.
cdef int put_control(Http2Session connection, uint8_t kind, uint8_t flags, uint32_t stream_id,
                     const uint8_t *payload, uint32_t length) except -1
cdef int put_reset(Http2Session connection, uint32_t stream_id, uint32_t code) except -1
cdef int put_window_update(
    Http2Session connection, uint32_t stream_id, uint32_t increment) except -1
# The client's table is smaller than 4,096 bytes from now on: leave it empty.
cdef int do_without_table(Http2Session connection) noexcept
# The connection's window has opened: who waited for that goes on.
cdef int feed_starved(Http2Session connection) noexcept
