"""One request's stream, and what it needs to know of its connection."""

from libc.stdint cimport int32_t, uint8_t, uint32_t

from raftkv._native.http2_headers cimport HeaderBlock
from raftkv._native.http2_id_table cimport IdTable
from raftkv._native.http2_methods cimport Method, MethodTable, now_s
from raftkv._native.http2_wire cimport GRPC_PREFIX_BYTES, OutBuffer

cdef enum:
    FAIR_BYTES = 65536               # of a connection that the bounds of all do not touch
    FAIR_STREAMS = 128
    NOT_RESET = -1

cdef enum Place:                     # of a stream among those that have something to send
    NOWHERE
    AMONG_READY
    AMONG_STARVED                    # the connection's window is shut

cdef struct Totals:                  # of all connections of one server
    Py_ssize_t queued_bytes
    Py_ssize_t queued_bytes_max
    Py_ssize_t partial_bytes
    Py_ssize_t partial_bytes_max
    Py_ssize_t streams
    Py_ssize_t streams_max

cdef struct StreamList:              # first in, first out; borrowed: a listed stream is attached
    void *first
    void *last


cdef class Http2Session:
    """The connection, as its streams see it."""
    cdef bint speaking                   # between the preface and the connection's loss
    cdef Totals *totals                  # the server's, which outlives its connections
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
    cdef list ended                      # streams whose handlers are to hear of the end after it
    cdef void *first_stream              # list of attached streams; it holds references
    cdef IdTable table                   # attached streams by id
    cdef void *latest                    # the stream attached last, if it is still there

    # What is to be sent.
    cdef StreamList ready
    cdef StreamList starved
    cdef Py_ssize_t stalled_count        # streams whose own window is shut
    cdef OutBuffer control               # frames of no answer: they go first
    cdef Py_ssize_t control_frames       # in it
    cdef Py_ssize_t control_acks         # of these, answers to SETTINGS and PING
    cdef int ping_strikes
    cdef long long send_window           # of the connection
    cdef long long first_window          # that the client gives to each stream
    cdef Py_ssize_t frame_bytes_max      # that the client takes

    # What the client's HPACK decoder has in its table: nothing but what `http2_sender` put there.
    cdef bint is_literal                 # its table is smaller than usual: it is not used
    cdef bint table_shrunk               # the next block has to say so
    cdef int indexed_count
    cdef int content_type_at             # which of these, from 1; 0: not there
    cdef int status_ok_at

    cdef int mark_dirty(self) except -1
    cdef int handler_failed(self, Stream stream, object error) except -1
    cdef Stream find_stream(self, uint32_t stream_id)


cdef class Stream:
    cdef Http2Session connection
    cdef void *previous_stream           # borrowed; the list of the connection
    cdef void *next_stream
    cdef readonly int32_t stream_id
    cdef readonly bint closed            # nothing can be sent any more
    cdef bint attached                   # in the connection's list, with a reference held

    # Request headers.
    cdef HeaderBlock head                # None until the headers begin
    cdef Method method
    cdef double began_s                  # when the call began, on the clock of the methods
    cdef Py_ssize_t held_bytes           # headers, as RFC 9113 counts them, and the body so far
    cdef bint headers_too_large
    cdef bint is_grpc

    # Request body.
    cdef bint half_closed                # the client has sent all
    cdef bint discarding                 # answered early: what still arrives is dropped
    cdef Py_ssize_t unacknowledged       # bytes of DATA that the client's window lacks
    cdef uint8_t prefix[GRPC_PREFIX_BYTES]
    cdef int prefix_filled
    cdef object message                  # bytes being filled, or complete and waiting (unary)
    cdef Py_ssize_t headroom             # in front of `message`, and counted nowhere
    cdef Py_ssize_t message_filled
    cdef Py_ssize_t message_size
    cdef bint message_complete

    # Answer.
    cdef object handler                  # StreamHandler of a streaming method
    cdef public object on_drained
    cdef public object on_closed
    cdef bint headers_sent               # decided; they leave with the next flush
    cdef bint finishing                  # nothing may be added; trailers follow the queue
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

    # Sending, see `http2_sender`.
    cdef void *previous_ready            # borrowed
    cdef void *next_ready
    cdef Place place
    cdef bint headers_written
    cdef bint is_status_only             # the status comes with the headers
    cdef bint ends_with_headers
    cdef bint stalled                    # its window is shut; in no list until that opens
    cdef bytes http_fields               # encoded; of an answer that is not gRPC
    cdef int reset_code                  # the answer is broken off with that; or NOT_RESET
    cdef long long window_used           # what was sent, less what the client gave back

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

    cdef int stall(self) noexcept
    cdef int unstall(self) except -1
    cdef int make_ready(self) except -1
    cdef int keep_header(self, const uint8_t *name, size_t name_length, const uint8_t *value,
                         size_t value_length) except -1
    cdef int take_head(self, HeaderBlock head) except -1
    cdef int take_data(self, const uint8_t *data, size_t length) except -1
    cdef int take_body(self, const uint8_t *data, size_t length) except -1
    cdef int begin_message(self) except -1
    cdef Py_ssize_t headroom_for(self, Py_ssize_t size) except -1
    cdef int end_message(self) except -1
    cdef int unpack_message(self) except -1
    cdef int headers_complete(self) except -1
    cdef int request_complete(self) except -1
    cdef int call_unary(self) except -1
    cdef int attach(self) except -1
    cdef int leave(self) except -1
    cdef int tell_closed(self) except -1
    cdef int detach(self) except -1


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


# Put a stream, which is in neither list, at the end of one.
cdef inline void list_stream(StreamList *streams, Place place, Stream stream) noexcept:
    stream.place = place
    stream.previous_ready = streams.last
    stream.next_ready = NULL
    if streams.last != NULL:
        (<Stream>streams.last).next_ready = <void *>stream
    else:
        streams.first = <void *>stream
    streams.last = <void *>stream


# Take a stream out of whichever list it is in.
cdef inline void unlist_stream(Http2Session connection, Stream stream) noexcept:
    cdef StreamList *streams
    if stream.place == NOWHERE:
        return
    streams = &connection.starved if stream.place == AMONG_STARVED else &connection.ready
    if stream.previous_ready == NULL:
        streams.first = stream.next_ready
    else:
        (<Stream>stream.previous_ready).next_ready = stream.next_ready
    if stream.next_ready == NULL:
        streams.last = stream.previous_ready
    else:
        (<Stream>stream.next_ready).previous_ready = stream.previous_ready
    stream.previous_ready = stream.next_ready = NULL
    stream.place = NOWHERE
