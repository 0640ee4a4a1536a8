"""The frames that a connection receives."""

from libc.stdint cimport uint8_t, uint32_t

from raftkv._native.http2_headers cimport HeaderBlock
from raftkv._native.http2_stream cimport Http2Session, Stream
from raftkv._native.nghttp2 cimport nghttp2_hd_inflater

cdef enum:
    FRAME_BYTES_MAX = 65536          # SETTINGS_MAX_FRAME_SIZE that we announce
    HELD_BYTES = 9 + 384             # a frame's head, and what is looked at as a whole
    BLOCKS_KNOWN_MAX = 8

cdef enum Part:                      # what the rest of the frame under way is
    PART_DATA
    PART_HEADERS
    PART_IGNORED


cdef class FrameReceiver(Http2Session):
    cdef nghttp2_hd_inflater *inflater
    cdef long long connection_window     # that this side gives, like the next
    cdef long long stream_window
    cdef long long unacknowledged        # bytes of DATA that the connection's window lacks
    cdef Py_ssize_t streams_max
    cdef double received_s               # loop time of the read under way
    cdef double resets_left              # that the client may cause at once
    cdef double resets_burst
    cdef double resets_per_s
    cdef double resets_counted_s
    cdef bint settings_seen
    cdef bint settings_acknowledged
    cdef bint going_away                 # GOAWAY has been sent: no new streams
    cdef bint client_going_away
    cdef bint terminated                 # after GOAWAY with an error: nothing is read any more
    cdef uint32_t last_id                # highest that the client has used
    cdef uint32_t last_served_id         # of these, while this side took new streams

    # The frame under way.
    cdef uint8_t[HELD_BYTES] held        # its beginning, while that is incomplete
    cdef Py_ssize_t held_length
    cdef bint in_frame                   # its beginning has been looked at
    cdef uint8_t kind
    cdef uint8_t flags
    cdef Part part
    cdef Py_ssize_t part_left
    cdef Py_ssize_t padding_left
    cdef Stream data_stream              # of a DATA frame; None: ignored

    # The header block under way.
    cdef bint in_block                   # CONTINUATION must follow
    cdef bint block_begun                # some of it has been decoded
    cdef bint block_decoded              # all of it has
    cdef bint block_ends_stream
    cdef uint32_t block_stream_id
    cdef int continuations
    cdef Stream head_stream              # whose request it begins
    cdef Stream trailer_stream           # whose request it ends
    cdef list known_blocks               # of HeaderBlock; decoding them again would give the same
    cdef int next_known                  # place of the list that is overwritten next

    cdef int begin_receiving(self) except -1
    cdef int end_receiving(self) noexcept
    cdef int free_memory(self) noexcept
    # Take bytes of the client behind the preface. Returns an ErrorCode that ends the connection.
    cdef int parse(self, const uint8_t *data, Py_ssize_t length) except -1
    # Tell the client which streams were served, and why the connection ends.
    cdef int say_goaway(self, uint32_t code, bytes text) except -1
    cdef int ping_received(self) except -1

    cdef int parse_beginning(
        self, const uint8_t **data, Py_ssize_t *length) except -1
    cdef int parse_rest(self, const uint8_t **data, Py_ssize_t *length) except -1
    cdef int begin_frame(self, const uint8_t *head) except -1
    cdef int begin_data(self, const uint8_t *head, uint32_t length, uint32_t stream_id) except -1
    cdef int begin_headers(
        self, const uint8_t *head, uint32_t length, uint32_t stream_id) except -1
    cdef int begin_request(self, uint32_t stream_id) except -1
    cdef int begin_continuation(self, uint32_t length, uint32_t stream_id) except -1
    cdef int take_settings(self, const uint8_t *payload, uint32_t length, uint32_t id) except -1
    cdef int set_first_window(self, uint32_t size) except -1
    cdef int take_ping(self, const uint8_t *payload, uint32_t length, uint32_t id) except -1
    cdef int take_reset(self, uint32_t length, uint32_t stream_id) except -1
    cdef int take_window(self, const uint8_t *payload, uint32_t length, uint32_t id) except -1
    cdef int break_stream(self, Stream stream, uint32_t code) except -1
    cdef bint may_reset(self) noexcept
    cdef bint is_idle(self, uint32_t stream_id) noexcept
    cdef int feed_headers(self, const uint8_t *data, Py_ssize_t length, bint is_final) except -1
    cdef HeaderBlock known_block(self, const uint8_t *data, Py_ssize_t length)
    cdef int inflate(self, const uint8_t *data, Py_ssize_t length, bint is_final) except -1
    cdef int end_frame(self) except -1
