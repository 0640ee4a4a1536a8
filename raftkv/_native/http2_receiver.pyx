"""Cuts what a client sends into frames, and gives them to streams and windows (RFC 9113).

Nothing waits for a frame to be complete but what is small: the head and fixed fields are held back
until they are there, and data and header blocks are handed on as they come. Header fields are
decoded by libnghttp2. Most clients send the same few header blocks again and again: a block that
leaves the decoder's table as it is means the same until another block changes the table, so the
last ones are kept with what they mean, and compared before anything is decoded.

Breaches of the protocol end the connection; those that the RFC lets end a stream alone, which a
client could otherwise repeat for ever, too, or they count as resets.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.string cimport memcmp, memcpy

from raftkv._native.http2_frames cimport *
from raftkv._native.http2_headers cimport changes_table, HeaderBlock
from raftkv._native.http2_id_table cimport table_free
from raftkv._native.http2_sender cimport (
    do_without_table, feed_starved, put_control, put_reset, put_window_update,
)
from raftkv._native.http2_stream cimport FAIR_STREAMS, Http2Session, Stream as CStream
from raftkv._native.nghttp2 cimport *

cdef enum:
    CONTINUATIONS_MAX = 8        # of one block
    CONTROL_ACKS_MAX = 1000      # answers to SETTINGS and PING that wait for one write
    KNOWN_BLOCK_BYTES_MAX = 256
    KNOWN_FIELDS_BYTES_MAX = 4096  # of what such a block means: 256 bytes may say very much
    TABLE_BYTES = 4096           # SETTINGS_HEADER_TABLE_SIZE that nobody has changed
    SETTING_BYTES = 6
    PRIORITY_BYTES = 5


cdef class FrameReceiver(Http2Session):
    """The receiving half of a connection."""

    def __dealloc__(self):
        self.free_memory()

    cdef int begin_receiving(self) except -1:
        """Get ready for the first frame, with the windows of the protocol's beginning."""
        if nghttp2_hd_inflate_new(&self.inflater):
            raise MemoryError
        self.known_blocks = []
        self.send_window = self.first_window = WINDOW_AT_FIRST
        self.frame_bytes_max = PEER_FRAME_BYTES_AT_FIRST
        self.speaking = True
        return 0

    cdef int end_receiving(self) noexcept:
        """Give back all memory. Harmless twice."""
        self.speaking = False
        self.free_memory()
        self.data_stream = self.head_stream = self.trailer_stream = None
        self.known_blocks = []
        return 0

    cdef int free_memory(self) noexcept:
        if self.inflater != NULL:
            nghttp2_hd_inflate_del(self.inflater)
            self.inflater = NULL
        table_free(&self.table)
        self.latest = NULL
        PyMem_Free(self.control.data)
        self.control.data = NULL
        self.control.length = self.control.capacity = 0
        self.control_frames = self.control_acks = 0
        return 0

    cdef int say_goaway(self, uint32_t code, bytes text) except -1:
        cdef bytes payload
        if not self.going_away:
            self.last_served_id = self.last_id
        self.going_away = True
        payload = self.last_served_id.to_bytes(4, "big") + code.to_bytes(4, "big") + text
        return put_control(self, GOAWAY, NO_FLAGS, 0, <const uint8_t *>PyBytes_AS_STRING(payload),
                           <uint32_t>PyBytes_GET_SIZE(payload))

    cdef int ping_received(self) except -1:
        """Judge a ping that has been answered."""
        raise NotImplementedError

    # Frames.

    cdef int parse(self, const uint8_t *data, Py_ssize_t length) except -1:
        cdef int code
        cdef long long window_before = self.first_window
        while length > 0 and not self.terminated and self.speaking:
            if self.in_frame:
                code = self.parse_rest(&data, &length)
            else:
                code = self.parse_beginning(&data, &length)
            if code:
                return code
            if self.control_acks > CONTROL_ACKS_MAX:
                return ENHANCE_YOUR_CALM
        if self.first_window > window_before:
            return feed_stalled(self)
        return 0

    cdef int parse_beginning(
        self, const uint8_t **data, Py_ssize_t *length
    ) except -1:
        """Look at the beginning of a frame as soon as it is there; hold it back before."""
        cdef const uint8_t *head = data[0] if self.held_length == 0 else self.held
        cdef Py_ssize_t have = length[0] if self.held_length == 0 else self.held_length
        cdef Py_ssize_t wanted = FRAME_HEAD_BYTES, take
        if have >= FRAME_HEAD_BYTES:
            wanted += looked_at_whole(head)
        if self.held_length == 0 and have >= wanted:
            data[0] += wanted
            length[0] -= wanted
            return self.begin_frame(head)
        take = min(length[0], wanted - self.held_length)
        memcpy(self.held + self.held_length, data[0], take)
        self.held_length += take
        data[0] += take
        length[0] -= take
        if self.held_length < FRAME_HEAD_BYTES:
            return 0
        if self.held_length < FRAME_HEAD_BYTES + looked_at_whole(self.held):
            return 0
        self.held_length = 0
        return self.begin_frame(self.held)

    cdef int parse_rest(self, const uint8_t **data, Py_ssize_t *length) except -1:
        """Hand on what there is of the frame under way."""
        cdef Py_ssize_t take
        cdef const uint8_t *at = data[0]
        cdef int code
        if self.part_left > 0:
            take = min(length[0], self.part_left)
            self.part_left -= take
            data[0] += take
            length[0] -= take
            if self.part == PART_DATA:
                if self.data_stream is not None and self.data_stream.attached:
                    self.data_stream.take_data(at, take)
            elif self.part == PART_HEADERS:
                code = self.feed_headers(
                    at, take, self.part_left == 0 and self.flags & END_HEADERS)
                if code:
                    return code
        else:
            take = min(length[0], self.padding_left)
            self.padding_left -= take
            data[0] += take
            length[0] -= take
        if self.part_left > 0 or self.padding_left > 0:
            return 0
        return self.end_frame()

    cdef int begin_frame(self, const uint8_t *head) except -1:
        """Begin a frame; small ones are complete. `head` has what `looked_at_whole` says."""
        cdef uint32_t length = read_u24(head)
        cdef uint32_t stream_id = read_u32(head + 5) & 0x7FFFFFFF
        cdef const uint8_t *payload = head + FRAME_HEAD_BYTES
        cdef int code
        self.kind = head[3]
        self.flags = head[4]
        if length > FRAME_BYTES_MAX:
            return FRAME_SIZE_ERROR
        if not self.settings_seen and (self.kind != SETTINGS or self.flags & ACK):
            return PROTOCOL_ERROR
        if self.in_block and self.kind != CONTINUATION:
            return PROTOCOL_ERROR
        if self.kind == DATA:
            code = self.begin_data(head, length, stream_id)
        elif self.kind == HEADERS:
            code = self.begin_headers(head, length, stream_id)
        elif self.kind == CONTINUATION:
            code = self.begin_continuation(length, stream_id)
        elif self.kind == SETTINGS:
            return self.take_settings(payload, length, stream_id)
        elif self.kind == PING:
            return self.take_ping(payload, length, stream_id)
        elif self.kind == RST_STREAM:
            return self.take_reset(length, stream_id)
        elif self.kind == WINDOW_UPDATE:
            return self.take_window(payload, length, stream_id)
        elif self.kind == PRIORITY:
            if stream_id == 0:
                return PROTOCOL_ERROR
            return 0 if length == PRIORITY_BYTES else FRAME_SIZE_ERROR
        elif self.kind == PUSH_PROMISE:
            return PROTOCOL_ERROR
        else:
            code = 0
            if self.kind == GOAWAY:
                if stream_id != 0:
                    return PROTOCOL_ERROR
                self.client_going_away = True
            self.part = PART_IGNORED
            self.part_left = length
            self.padding_left = 0
        if code:
            return code
        if self.part_left > 0 or self.padding_left > 0:
            self.in_frame = True
            return 0
        return self.end_frame()

    cdef int begin_data(self, const uint8_t *head, uint32_t length, uint32_t stream_id) except -1:
        cdef uint32_t padding = 0
        cdef CStream stream
        if stream_id == 0 or self.is_idle(stream_id):
            return PROTOCOL_ERROR
        if self.flags & PADDED:
            if length < 1:
                return FRAME_SIZE_ERROR
            padding = head[FRAME_HEAD_BYTES]
            if padding >= length:
                return PROTOCOL_ERROR
        self.unacknowledged += length
        if self.unacknowledged > self.connection_window:
            return FLOW_CONTROL_ERROR
        if self.unacknowledged * 2 >= self.connection_window:
            put_window_update(self, 0, <uint32_t>self.unacknowledged)
            self.unacknowledged = 0
        self.part = PART_DATA
        self.part_left = length - padding - (1 if self.flags & PADDED else 0)
        self.padding_left = padding
        self.data_stream = stream = self.find_stream(stream_id)
        if stream is None:
            return 0
        if stream.half_closed:
            return STREAM_CLOSED
        stream.unacknowledged += length
        if stream.unacknowledged > self.stream_window and (
                self.settings_acknowledged or stream.unacknowledged > WINDOW_AT_FIRST):
            return FLOW_CONTROL_ERROR
        if stream.unacknowledged * 2 >= self.stream_window and not self.flags & END_STREAM:
            put_window_update(self, stream_id, <uint32_t>stream.unacknowledged)
            stream.unacknowledged = 0
        return 0

    cdef int begin_headers(
        self, const uint8_t *head, uint32_t length, uint32_t stream_id
    ) except -1:
        cdef uint32_t padding = 0, fixed = 0
        cdef CStream stream
        if stream_id % 2 == 0:
            return PROTOCOL_ERROR
        if self.flags & PADDED:
            fixed += 1
        if self.flags & HAS_PRIORITY:
            fixed += PRIORITY_BYTES
        if length < fixed:
            return FRAME_SIZE_ERROR
        if self.flags & PADDED:
            padding = head[FRAME_HEAD_BYTES]
            if padding > length - fixed:
                return PROTOCOL_ERROR
        self.part = PART_HEADERS
        self.part_left = length - fixed - padding
        self.padding_left = padding
        self.in_block = True
        self.block_begun = self.block_decoded = False
        self.block_ends_stream = self.flags & END_STREAM
        self.block_stream_id = stream_id
        self.continuations = 0
        self.head_stream = self.trailer_stream = None
        if self.is_idle(stream_id):
            return self.begin_request(stream_id)
        stream = self.find_stream(stream_id)
        if stream is None:
            return 0                     # it has ended here, and the client does not know yet
        if stream.half_closed:
            return STREAM_CLOSED
        if not self.block_ends_stream:
            return PROTOCOL_ERROR
        self.trailer_stream = stream
        return 0

    cdef int begin_request(self, uint32_t stream_id) except -1:
        """Make a stream, unless there are too many."""
        cdef CStream stream
        self.last_id = stream_id
        if self.going_away:
            return 0
        if self.stream_count >= self.streams_max:
            if self.settings_acknowledged:
                return PROTOCOL_ERROR
            return put_reset(self, stream_id, REFUSED_STREAM)
        if self.stream_count >= FAIR_STREAMS and self.totals.streams >= self.totals.streams_max:
            return put_reset(self, stream_id, REFUSED_STREAM)
        stream = CStream.__new__(CStream)
        stream.connection = self
        stream.stream_id = <int32_t>stream_id
        stream.attach()
        self.head_stream = stream
        return 0

    cdef int begin_continuation(self, uint32_t length, uint32_t stream_id) except -1:
        if not self.in_block or stream_id != self.block_stream_id:
            return PROTOCOL_ERROR
        self.continuations += 1
        if self.continuations > CONTINUATIONS_MAX:
            return ENHANCE_YOUR_CALM
        self.part = PART_HEADERS
        self.part_left = length
        self.padding_left = 0
        return 0

    cdef int end_frame(self) except -1:
        """Act on the end of a frame with parts."""
        cdef CStream stream
        cdef int code
        self.in_frame = False
        if self.kind == DATA:
            stream, self.data_stream = self.data_stream, None
            if self.flags & END_STREAM and stream is not None and stream.attached:
                stream.request_complete()
            return 0
        if not self.in_block or not self.flags & END_HEADERS:
            return 0
        if not self.block_decoded:                     # the last frame of it was empty
            code = self.feed_headers(NULL, 0, True)
            if code:
                return code
        self.in_block = False
        stream, self.head_stream = self.head_stream, None
        if stream is None:
            stream, self.trailer_stream = self.trailer_stream, None
        elif stream.attached and not stream.finishing:
            stream.headers_complete()
        if stream is not None and stream.attached and self.block_ends_stream:
            stream.request_complete()
        return 0

    # Frames that are looked at whole.

    cdef int take_settings(self, const uint8_t *payload, uint32_t length, uint32_t id) except -1:
        cdef uint32_t at = 0, value
        cdef int code
        if id != 0:
            return PROTOCOL_ERROR
        if length % SETTING_BYTES or length > HELD_BYTES - FRAME_HEAD_BYTES:
            return FRAME_SIZE_ERROR
        if self.flags & ACK:
            self.settings_acknowledged = True
            return 0 if length == 0 else FRAME_SIZE_ERROR
        self.settings_seen = True
        while at < length:
            value = read_u32(payload + at + 2)
            code = 0
            if payload[at] == 0:
                if payload[at + 1] == HEADER_TABLE_SIZE:
                    if value < TABLE_BYTES:
                        do_without_table(self)
                elif payload[at + 1] == ENABLE_PUSH:
                    code = PROTOCOL_ERROR if value > 1 else 0
                elif payload[at + 1] == INITIAL_WINDOW_SIZE:
                    code = self.set_first_window(value)
                elif payload[at + 1] == MAX_FRAME_SIZE:
                    if not PEER_FRAME_BYTES_AT_FIRST <= value <= PEER_FRAME_BYTES_MAX:
                        code = PROTOCOL_ERROR
                    self.frame_bytes_max = value
            if code:
                return code
            at += SETTING_BYTES
        self.control_acks += 1
        return put_control(self, SETTINGS, ACK, 0, NULL, 0)

    cdef int set_first_window(self, uint32_t size) except -1:
        """Change the window of every stream; who waits for it is looked at once after each read.

        One read may have this thousands of times.
        """
        if size > WINDOW_MAX:
            return FLOW_CONTROL_ERROR
        self.first_window = size
        return 0

    cdef int take_ping(self, const uint8_t *payload, uint32_t length, uint32_t id) except -1:
        if id != 0:
            return PROTOCOL_ERROR
        if length != 8:
            return FRAME_SIZE_ERROR
        if self.flags & ACK:
            return 0
        self.control_acks += 1
        put_control(self, PING, ACK, 0, payload, 8)
        return self.ping_received()

    cdef int take_reset(self, uint32_t length, uint32_t stream_id) except -1:
        cdef CStream stream
        if stream_id == 0 or self.is_idle(stream_id):
            return PROTOCOL_ERROR
        if length != 4:
            return FRAME_SIZE_ERROR
        if not self.may_reset():
            return ENHANCE_YOUR_CALM
        stream = self.find_stream(stream_id)
        if stream is not None:
            stream.detach()
        return 0

    cdef int take_window(self, const uint8_t *payload, uint32_t length, uint32_t id) except -1:
        cdef CStream stream
        cdef uint32_t more
        if length != 4:
            return FRAME_SIZE_ERROR
        more = read_u32(payload) & 0x7FFFFFFF
        if id == 0:
            if more == 0:
                return PROTOCOL_ERROR
            if self.send_window + more > WINDOW_MAX:
                return FLOW_CONTROL_ERROR
            self.send_window += more
            if self.send_window > 0 and self.starved.first != NULL:
                feed_starved(self)
                self.mark_dirty()
            return 0
        if self.is_idle(id):
            return PROTOCOL_ERROR
        stream = self.find_stream(id)
        if stream is None:
            return 0
        if more == 0:
            return self.break_stream(stream, PROTOCOL_ERROR)
        if self.first_window - stream.window_used + more > WINDOW_MAX:
            return self.break_stream(stream, FLOW_CONTROL_ERROR)
        stream.window_used -= more
        return stream.unstall()              # it stalls again where that was too little

    cdef int break_stream(self, CStream stream, uint32_t code) except -1:
        """Reset a stream whose client broke the rules; that counts as the client's reset."""
        if not self.may_reset():
            return ENHANCE_YOUR_CALM
        put_reset(self, <uint32_t>stream.stream_id, code)
        stream.detach()
        return 0

    cdef bint may_reset(self) noexcept:
        """Count one reset; False where there are too many."""
        self.resets_left = min(
            self.resets_burst,
            self.resets_left + (self.received_s - self.resets_counted_s) * self.resets_per_s)
        self.resets_counted_s = self.received_s
        if self.resets_left < 1:
            return False
        self.resets_left -= 1
        return True

    cdef bint is_idle(self, uint32_t stream_id) noexcept:
        """Whether nobody has used a stream yet; this side begins none."""
        return stream_id % 2 == 0 or stream_id > self.last_id

    # Header blocks.

    cdef int feed_headers(self, const uint8_t *data, Py_ssize_t length, bint is_final) except -1:
        """Take the next bytes of the header block."""
        cdef HeaderBlock block
        cdef bint is_whole = is_final and not self.block_begun
        cdef CStream stream = self.head_stream
        cdef int code
        self.block_begun = True
        self.block_decoded = is_final
        if is_whole:
            block = self.known_block(data, length)
            if block is not None:
                if stream is not None:
                    stream.take_head(block)
                return 0
            is_whole = not changes_table(data, length)
        if not is_whole and self.known_blocks:
            self.known_blocks = []
            self.next_known = 0
        if stream is not None and stream.head is None:
            stream.head = HeaderBlock.__new__(HeaderBlock)
        code = self.inflate(data, length, is_final)
        if code or not is_whole or stream is None or stream.headers_too_large \
                or length > KNOWN_BLOCK_BYTES_MAX or stream.head.size > KNOWN_FIELDS_BYTES_MAX:
            return code
        stream.head.encoded = PyBytes_FromStringAndSize(<char *>data, length)
        if len(self.known_blocks) < BLOCKS_KNOWN_MAX:
            self.known_blocks.append(stream.head)
        else:
            self.known_blocks[self.next_known] = stream.head
            self.next_known = (self.next_known + 1) % BLOCKS_KNOWN_MAX
        return 0

    cdef HeaderBlock known_block(self, const uint8_t *data, Py_ssize_t length):
        """Return what a block means, if that is known."""
        cdef HeaderBlock block
        for block in self.known_blocks:
            if PyBytes_GET_SIZE(block.encoded) == length \
                    and memcmp(PyBytes_AS_STRING(block.encoded), data, length) == 0:
                return block
        return None

    cdef int inflate(self, const uint8_t *data, Py_ssize_t length, bint is_final) except -1:
        """Decode header fields, for the request that they begin or for nobody."""
        cdef nghttp2_nv field
        cdef ssize_t taken
        cdef int flags
        while True:
            flags = 0
            taken = nghttp2_hd_inflate_hd2(
                self.inflater, &field, &flags, data, length, is_final)
            if taken < 0:
                return COMPRESSION_ERROR
            data += taken
            length -= taken
            if flags & NGHTTP2_HD_INFLATE_EMIT:
                if self.head_stream is not None:
                    self.head_stream.keep_header(
                        field.name, field.namelen, field.value, field.valuelen)
            elif length == 0:
                break
        if is_final:
            nghttp2_hd_inflate_end_headers(self.inflater)
        return 0


cdef Py_ssize_t looked_at_whole(const uint8_t *head) noexcept:
    """How much of a frame's payload has to be there before the frame begins."""
    cdef Py_ssize_t length = read_u24(head)
    cdef Py_ssize_t fixed = 0
    if head[3] == DATA:
        fixed = 1 if head[4] & PADDED else 0
    elif head[3] == HEADERS:
        fixed = (1 if head[4] & PADDED else 0) + (PRIORITY_BYTES if head[4] & HAS_PRIORITY else 0)
    elif head[3] == SETTINGS or head[3] == PING or head[3] == RST_STREAM \
            or head[3] == WINDOW_UPDATE or head[3] == PRIORITY:
        fixed = length if length <= HELD_BYTES - FRAME_HEAD_BYTES else 0
    return min(fixed, length)


cdef int feed_stalled(FrameReceiver connection) except -1:
    """The streams' windows have grown: whose window is open goes on."""
    cdef void *following = connection.first_stream
    cdef CStream stream
    while following != NULL and connection.stalled_count > 0:
        stream = <CStream>following
        following = stream.next_stream
        if connection.first_window > stream.window_used:
            stream.unstall()
    return 0
