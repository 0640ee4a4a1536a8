"""The HTTP/2 front end: a server and its connections."""

from libc.stdint cimport uint8_t

from raftkv._native.http2_methods cimport MethodTable as CMethodTable
from raftkv._native.http2_receiver cimport FrameReceiver
from raftkv._native.http2_stream cimport Totals
from raftkv._native.http2_wire cimport OutBuffer

cdef enum:
    PREFACE_BYTES = 24

cdef class Server:
    cdef readonly CMethodTable methods
    cdef readonly object limits
    cdef object http1_factory
    cdef object http_handler
    cdef object loop                     # of the first connection; all share it
    cdef set connections
    cdef list dirty                      # connections with something to write
    cdef bint flush_scheduled
    cdef bint flushing
    cdef bint writing                    # `out` is in use
    cdef bint closing
    cdef object http_open
    cdef public object on_read_begin     # called around what one read of a connection brings
    cdef public object on_read_end
    cdef long long connections_made
    cdef readonly long long received_bytes
    cdef readonly long long sent_bytes
    cdef OutBuffer out                   # frames of one connection, while it is flushed
    cdef object read_buffer              # memoryview; shared, as a read is consumed at once
    cdef uint8_t *read_data
    cdef object read_owner
    cdef Totals totals
    cdef object sweep_timer              # next look at silent connections; None until one came

    cdef int enqueue(self, Connection connection) except -1
    cpdef int flush(self) except -1


cdef class Connection(FrameReceiver):
    cdef Server server
    cdef object transport
    cdef object preface_timer
    cdef bytes undecided                 # first bytes, too few to tell HTTP/1 from HTTP/2
    cdef bint dirty                      # in the server's list, or to be flushed after this read
    cdef bint receiving                  # frames are being parsed
    cdef bint paused                     # the transport's buffer is full
    cdef bint sent_away                  # to be closed once what is queued has been written
    cdef double last_read_s              # loop time
    cdef double asked_s                  # when our ping left that is not answered; 0: none
    cdef double last_ping_s

    cdef bytes read_bytes(self, Py_ssize_t length)
    cdef int first_bytes(self, bytes data) except -1
    cdef int begin_session(self) except -1
    cdef int hand_over(self, bytes data) except -1
    cdef int receive(self, const uint8_t *data, Py_ssize_t length) except -1
    cdef bint is_over(self) noexcept
    cdef int terminate(self, int code) except -1
    cdef int write_out(self) except -1
    cdef int write_frames(self) except -1
    cdef int call_ended(self) except -1
    cdef int call_drained(self) except -1
    cdef int end_streams(self, int code, str text) except -1
    cdef int ping_received(self) except -1
    cdef int check_alive(
        self, double now, double ask_after_s, double answer_s, double idle_s) except -1
    cdef int end_session(self) except -1
