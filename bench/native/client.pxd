"""gRPC calls over one connection, without the GIL: nghttp2 does the frames, the caller the socket.

Ownership: links and calls are the load's memory; a call belongs to one link for its life and is
used again and again. Nothing here waits.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from bench.native.nghttp2_client cimport nghttp2_nv, nghttp2_session

cdef enum:
    HEADER_COUNT = 6
    TEXT_BYTES = 160               # of an error's text that are kept
    OUT_BYTES = 262144             # frames gathered for one write
    STATUS_NONE = -1               # no grpc-status has come
    STATUS_BAD_HTTP = -2           # an HTTP status other than 200

ctypedef void (*OnMessage)(void *owner, Call *call, const uint8_t *message,
                           size_t length) noexcept nogil
ctypedef void (*OnEnd)(void *owner, Call *call, uint32_t error_code) noexcept nogil


cdef struct Call:
    Link *link
    int32_t stream_id              # 0: not open
    uint8_t *request               # framed gRPC message that is being sent
    size_t request_length
    size_t request_capacity
    size_t request_sent
    bint stays_open                # more messages may follow: the stream is not half closed
    uint8_t *answer                # bytes of a message that is not complete
    size_t answer_length
    size_t answer_capacity
    int grpc_status                # or STATUS_*
    char[TEXT_BYTES] text          # grpc-message, cut
    int operation                  # what the load asked for: which template,
    int64_t number                 # of which key,
    int64_t intended_ns            # and when it should have left (CLOCK_MONOTONIC)


cdef struct Link:
    int fd
    nghttp2_session *session
    uint8_t *out                   # OUT_BYTES; [out_written, out_length) waits for the socket
    size_t out_length
    size_t out_written
    bint dirty                     # in the load's list of links to flush
    bint blocked                   # the socket takes no more for now
    bint lost
    void *owner                    # given to the callbacks
    OnMessage on_message
    OnEnd on_end


cdef int link_begin(Link *link, int fd, void *owner, OnMessage on_message,
                    OnEnd on_end) except -1
cdef void link_free(Link *link) noexcept nogil
cdef int link_flush(Link *link) noexcept nogil
cdef ssize_t link_receive(Link *link, const uint8_t *data, size_t length) noexcept nogil
cdef int call_begin(Call *call, const nghttp2_nv *headers) noexcept nogil
cdef int call_more(Call *call) noexcept nogil
cdef uint8_t *call_room(Call *call, size_t length) noexcept nogil
