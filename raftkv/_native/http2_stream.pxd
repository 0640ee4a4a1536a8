"""One request's stream, and what it needs to know of its connection."""

from libc.stdint cimport int32_t, uint8_t

from raftkv._native.http2_headers cimport HeaderFields
from raftkv._native.http2_methods cimport Method, MethodTable, now_s
from raftkv._native.http2_wire cimport GRPC_PREFIX_BYTES, OutBuffer
from raftkv._native.nghttp2 cimport (
    nghttp2_data_source, nghttp2_frame, nghttp2_rcbuf, nghttp2_session,
)

cdef enum:
    FAIR_BYTES = 65536               # of a connection that the bounds of all do not touch
    FAIR_STREAMS = 128

cdef struct Totals:                  # of all connections of one server
    Py_ssize_t queued_bytes
    Py_ssize_t queued_bytes_max
    Py_ssize_t partial_bytes
    Py_ssize_t partial_bytes_max
    Py_ssize_t streams
    Py_ssize_t streams_max

cdef int stream_send_data(
    nghttp2_session *session, nghttp2_frame *frame, const uint8_t *frame_header, size_t length,
    nghttp2_data_source *source, void *user_data) noexcept


cdef class Http2Session:
    """The connection, as its streams see it."""
    cdef nghttp2_session *session        # NULL before the preface and after the connection is lost
    cdef Totals *totals                  # the server's, which outlives its connections
    cdef OutBuffer *out                  # the server's; holds the frames of the flush under way
    cdef object peer_address
    cdef str peer_common_name            # of the client's verified certificate; "" where none
    cdef bint is_secure                  # TLS
    cdef readonly long long connection_id
    cdef Py_ssize_t stream_count         # attached
    cdef Py_ssize_t queued_bytes         # sum of the streams' pending bytes
    cdef Py_ssize_t partial_bytes        # headers, bodies, and announced but incomplete messages
    cdef Py_ssize_t request_bytes_max
    cdef Py_ssize_t header_bytes_max
    cdef Py_ssize_t partial_bytes_max
    cdef Py_ssize_t queued_bytes_max
    cdef Py_ssize_t drain_low_water_bytes
    cdef MethodTable methods
    cdef object http_handler             # (stream, body) for requests that are not gRPC; or None
    cdef object http_open                # (stream) -> StreamHandler of such a body, or None
    cdef object escaped                  # KeyboardInterrupt or SystemExit out of a handler
    cdef list drained                    # streams whose on_drained is due after the flush
    cdef void *first_stream              # list of attached streams; it holds references

    cdef int mark_dirty(self) except -1
    cdef int handler_failed(self, Stream stream, object error) except -1


cdef class Stream:
    cdef Http2Session connection
    cdef void *previous_stream           # borrowed; the list of the connection
    cdef void *next_stream
    cdef readonly int32_t stream_id
    cdef readonly bint closed            # nothing can be sent any more
    cdef bint attached                   # in the connection's list, with a reference held

    # Request headers.
    cdef Method method
    cdef double began_s                  # when the call began, on the clock of the methods
    cdef nghttp2_rcbuf *path_field       # NULL until :path arrived
    cdef HeaderFields fields             # regular ones, and :authority
    cdef Py_ssize_t held_bytes           # headers, as RFC 9113 counts them, and the body so far
    cdef bint headers_too_large
    cdef nghttp2_rcbuf *method_field     # NULL where :method is POST
    cdef readonly bint is_post
    cdef bint is_grpc
    cdef double timeout_s                # from grpc-timeout; negative: none

    # Request body.
    cdef bint half_closed                # the client has sent all
    cdef bint discarding                 # answered early: what still arrives is dropped
    cdef uint8_t prefix[GRPC_PREFIX_BYTES]
    cdef int prefix_filled
    cdef object message                  # bytes being filled, or complete and waiting (unary)
    cdef Py_ssize_t message_filled
    cdef Py_ssize_t message_size
    cdef bint message_complete

    # Answer.
    cdef object handler                  # StreamHandler of a streaming method
    cdef public object on_drained
    cdef public object on_closed
    cdef bint headers_sent
    cdef bint finishing                  # nothing may be added; trailers follow the queue
    cdef bint deferred                   # nghttp2 waits for resume_data
    cdef bint drain_armed
    cdef bint unframed                   # what is sent are pieces of one message or body
    cdef bint is_plain_http              # body without gRPC framing or trailers
    cdef int status_code                 # for the trailers
    cdef bytes status_text               # percent-encoded
    cdef object queue                    # deque of (head, tail) not yet begun; None until needed
    cdef bytes out_head                  # message being written: prefix, head, tail
    cdef bytes out_tail
    cdef Py_ssize_t out_offset
    cdef readonly Py_ssize_t pending_bytes

    cpdef bint reply(self, bytes message) except -1
    cpdef bint fail(self, int code, str text) except -1
    cpdef bint send(self, bytes head, bytes tail=*) except -1
    cpdef bint begin_large(self, Py_ssize_t size) except -1
    cpdef bint reset(self) except -1
    cpdef bint finish(self, int code=*, str text=*) except -1
    cpdef bint begin_http(
        self, int status, bytes content_type, object headers=*, Py_ssize_t length=*) except -1
    cpdef bint reply_http(
        self, int status, bytes content_type, bytes body, object headers=*) except -1

    cdef int keep_header(self, nghttp2_rcbuf *name, nghttp2_rcbuf *value) except -1
    cdef int take_data(self, const uint8_t *data, size_t length) except -1
    cdef int take_body(self, const uint8_t *data, size_t length) except -1
    cdef int begin_message(self) except -1
    cdef int end_message(self) except -1
    cdef int headers_complete(self) except -1
    cdef int request_complete(self) except -1
    cdef int attach(self) except -1
    cdef int detach(self) except -1
    cdef int submit_headers(self) except -1
    cdef int submit_trailers(self, bint headers_too) noexcept
    cdef int copy_pending(self, OutBuffer *out, size_t length) except -1


cdef inline void count_queued(Http2Session connection, Py_ssize_t bytes) noexcept:
    connection.queued_bytes += bytes
    connection.totals.queued_bytes += bytes


cdef inline void count_partial(Http2Session connection, Py_ssize_t bytes) noexcept:
    connection.partial_bytes += bytes
    connection.totals.partial_bytes += bytes


# What all connections share runs out for those that use more than their part of it; who has little
# outstanding is served on, or one greedy client could stop the others.
cdef inline bint partial_full(Http2Session connection, Py_ssize_t more) noexcept:
    cdef Py_ssize_t own = connection.partial_bytes + more
    return own > connection.partial_bytes_max or (
        own > FAIR_BYTES
        and connection.totals.partial_bytes + more > connection.totals.partial_bytes_max)


cdef inline bint queue_full(Http2Session connection, Py_ssize_t more) noexcept:
    cdef Py_ssize_t own = connection.queued_bytes + more
    return own > connection.queued_bytes_max or (
        own > FAIR_BYTES
        and connection.totals.queued_bytes + more > connection.totals.queued_bytes_max)
