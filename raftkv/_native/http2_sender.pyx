"""Makes the frames that a connection sends: control frames first, then the streams' in turn.

A stream that has something to send is among the ready. Its turn is one look at it: the headers, and
what one DATA frame and the windows hold; then it goes to the end of the queue, or waits for a
window, or is complete. So a large answer holds up no small one.

Header blocks (RFC 7541) need no encoder: two fields of an answer are put into the client's table
the first time they are sent, and are one byte each afterwards; all others leave no trace in it.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy

from raftkv._native.http2_frames cimport (
    CONTINUATION, DATA, END_HEADERS, END_STREAM, FRAME_HEAD_BYTES, HEADERS, NO_ERROR, NO_FLAGS,
    RST_STREAM, WINDOW_UPDATE, write_head, write_u32,
)
from raftkv._native.http2_stream cimport (
    AMONG_READY, AMONG_STARVED, count_queued, Http2Session, list_stream, NOT_RESET,
    Stream as CStream, unlist_stream,
)
from raftkv._native.http2_wire cimport (
    encode_prefix, GRPC_PREFIX_BYTES, literal_fields, out_append, out_room, OutBuffer,
)

cdef enum:
    DATA_BYTES_MAX = 262144            # of a frame, however large frames the client takes
    CONTROL_KEPT_BYTES = 4096          # of the buffer, when it is empty
    INDEXED = 0x80                     # RFC 7541 §6.1: field of a place in the table
    INDEXING = 0x40                    # §6.2.1: literal field that enters the table
    STATUS_200 = 0x88                  # §A: static place 8
    CONTENT_TYPE_PLACE = 31            # §A
    NEWEST_PLACE = 62                  # first one behind the static table
    FIELD_BYTES_MAX = 64               # of the two fields that are indexed

cdef bytes CONTENT_TYPE = b"application/grpc"
cdef bytes STATUS_OK = b"\x0bgrpc-status\x010"      # both strings with their lengths
cdef bytes CONTENT_TYPE_LITERAL = literal_fields([(b"content-type", b"application/grpc")])
cdef bytes STATUS_OK_LITERAL = literal_fields([(b"grpc-status", b"0")])


cdef bint has_frames(Http2Session connection) noexcept:
    return connection.control.length > 0 or connection.ready.first != NULL


cdef int gather(Http2Session connection, OutBuffer *out, size_t enough) except -1:
    cdef CStream stream
    if connection.control.length:
        out_append(out, connection.control.data, connection.control.length)
        connection.control.length = 0
        connection.control_frames = connection.control_acks = 0
        if connection.control.capacity > CONTROL_KEPT_BYTES:
            PyMem_Free(connection.control.data)
            connection.control.data = NULL
            connection.control.capacity = 0
    while connection.ready.first != NULL and out.length < enough:
        stream = <CStream>connection.ready.first
        unlist_stream(connection, stream)
        write_stream(connection, stream, out)
    return 0


cdef int put_control(Http2Session connection, uint8_t kind, uint8_t flags, uint32_t stream_id,
                     const uint8_t *payload, uint32_t length) except -1:
    cdef OutBuffer *control = &connection.control
    cdef uint8_t *at = out_room(control, FRAME_HEAD_BYTES + length)
    write_head(at, length, kind, flags, stream_id)
    if length:
        memcpy(at + FRAME_HEAD_BYTES, payload, length)
    control.length += FRAME_HEAD_BYTES + length
    connection.control_frames += 1
    return 0


cdef int put_reset(Http2Session connection, uint32_t stream_id, uint32_t code) except -1:
    cdef uint8_t[4] payload
    write_u32(payload, code)
    return put_control(connection, RST_STREAM, NO_FLAGS, stream_id, payload, 4)


cdef int put_window_update(
    Http2Session connection, uint32_t stream_id, uint32_t increment
) except -1:
    cdef uint8_t[4] payload
    write_u32(payload, increment)
    return put_control(connection, WINDOW_UPDATE, NO_FLAGS, stream_id, payload, 4)


cdef int do_without_table(Http2Session connection) noexcept:
    if not connection.is_literal:
        connection.is_literal = connection.table_shrunk = True
        connection.content_type_at = connection.status_ok_at = 0
    return 0


cdef int feed_starved(Http2Session connection) noexcept:
    cdef CStream stream
    while connection.starved.first != NULL:
        stream = <CStream>connection.starved.first
        unlist_stream(connection, stream)
        list_stream(&connection.ready, AMONG_READY, stream)
    return 0


# One stream.

cdef int write_stream(Http2Session connection, CStream stream, OutBuffer *out) except -1:
    """Write what a stream may send in its turn; it is in no list."""
    if stream.reset_code != NOT_RESET:
        write_reset(out, stream, stream.reset_code)
        return end(connection, stream)
    connection.ping_strikes = 0
    if not stream.headers_written:
        stream.headers_written = True
        if stream.http_fields is not None:
            write_block(connection, out, stream, stream.http_fields,
                        END_STREAM if stream.ends_with_headers else NO_FLAGS)
            stream.http_fields = None
            if stream.ends_with_headers:
                return answered(connection, stream, out)
        elif stream.is_status_only:
            write_status(connection, out, stream)
            return answered(connection, stream, out)
        else:
            write_grpc_headers(connection, out, stream)
    if stream.pending_bytes > 0:
        return write_data(connection, stream, out)
    if stream.finishing:
        if stream.is_plain_http:
            write_frame_head(out, 0, DATA, END_STREAM, stream)
        else:
            write_status(connection, out, stream)
        return answered(connection, stream, out)
    return 0


cdef int write_data(Http2Session connection, CStream stream, OutBuffer *out) except -1:
    """Write one DATA frame, if the windows let it, and the stream's end where nothing follows."""
    cdef long long window = connection.first_window - stream.window_used
    cdef Py_ssize_t size = min(
        stream.pending_bytes, min(connection.frame_bytes_max, DATA_BYTES_MAX))
    cdef bint is_last
    if connection.send_window <= 0:
        list_stream(&connection.starved, AMONG_STARVED, stream)
        return 0
    if window <= 0:
        return stream.stall()
    size = min(size, min(window, connection.send_window))
    is_last = stream.finishing and size == stream.pending_bytes
    connection.send_window -= size
    stream.window_used += size
    write_frame_head(
        out, size, DATA, END_STREAM if is_last and stream.is_plain_http else NO_FLAGS, stream)
    copy_pending(stream, out, size)
    if not is_last:
        if stream.pending_bytes > 0:
            list_stream(&connection.ready, AMONG_READY, stream)
        return 0
    if not stream.is_plain_http:
        write_status(connection, out, stream)
    return answered(connection, stream, out)


cdef int copy_pending(CStream stream, OutBuffer *out, size_t length) except -1:
    """Append the next `length` <= pending_bytes queued bytes to `out` and forget them."""
    cdef Http2Session connection = stream.connection
    cdef uint8_t[GRPC_PREFIX_BYTES] prefix
    cdef Py_ssize_t head_size, tail_size, take, left = <Py_ssize_t>length
    stream.pending_bytes -= left
    count_queued(connection, -left)
    while left > 0:
        head_size = PyBytes_GET_SIZE(stream.out_head)
        tail_size = 0 if stream.out_tail is None else PyBytes_GET_SIZE(stream.out_tail)
        if stream.out_offset < GRPC_PREFIX_BYTES:
            encode_prefix(prefix, <uint32_t>(head_size + tail_size))
            take = min(left, GRPC_PREFIX_BYTES - stream.out_offset)
            out_append(out, prefix + stream.out_offset, take)
        elif stream.out_offset < GRPC_PREFIX_BYTES + head_size:
            take = min(left, GRPC_PREFIX_BYTES + head_size - stream.out_offset)
            out_append(out, PyBytes_AS_STRING(stream.out_head) + stream.out_offset
                       - GRPC_PREFIX_BYTES, take)
        else:
            take = min(left, GRPC_PREFIX_BYTES + head_size + tail_size - stream.out_offset)
            out_append(out, PyBytes_AS_STRING(stream.out_tail) + stream.out_offset
                       - GRPC_PREFIX_BYTES - head_size, take)
        stream.out_offset += take
        left -= take
        if stream.out_offset == GRPC_PREFIX_BYTES + head_size + tail_size:
            stream.out_offset = GRPC_PREFIX_BYTES if stream.unframed else 0
            if stream.queue:
                stream.out_head, stream.out_tail = stream.queue.popleft()
            else:
                stream.out_head = stream.out_tail = None
    if stream.drain_armed and stream.pending_bytes < connection.drain_low_water_bytes:
        stream.drain_armed = False
        if stream.on_drained is not None:
            connection.drained.append(stream)
    return 0


cdef int answered(Http2Session connection, CStream stream, OutBuffer *out) except -1:
    """The answer is complete; where the request is not, the client need not send the rest."""
    if not stream.half_closed:
        write_reset(out, stream, NO_ERROR)
    return end(connection, stream)


cdef int end(Http2Session connection, CStream stream) except -1:
    """Let a stream go. Its handler hears of that when the frames have been written."""
    stream.leave()
    if stream.handler is not None or stream.on_closed is not None:
        connection.ended.append(stream)
    return 0


cdef int write_frame_head(
    OutBuffer *out, Py_ssize_t length, uint8_t kind, uint8_t flags, CStream stream
) except -1:
    write_head(out_room(out, FRAME_HEAD_BYTES), <uint32_t>length, kind, flags,
               <uint32_t>stream.stream_id)
    out.length += FRAME_HEAD_BYTES
    return 0


cdef int write_reset(OutBuffer *out, CStream stream, uint32_t code) except -1:
    write_frame_head(out, 4, RST_STREAM, NO_FLAGS, stream)
    write_u32(out_room(out, 4), code)
    out.length += 4
    return 0


# Header blocks.

cdef Py_ssize_t put_table_size(Http2Session connection, uint8_t *block) noexcept:
    """Say, where that is due, that the table holds nothing: RFC 7541 §6.3."""
    if not connection.table_shrunk:
        return 0
    connection.table_shrunk = False
    block[0] = 0x20
    return 1


cdef Py_ssize_t put_known(
    Http2Session connection, uint8_t *block, int *known_at, bytes literal, bytes entering
) noexcept:
    """Write a field that stays in the client's table; `entering` follows the first byte there.

    `known_at` is where the connection keeps which entry it is. Returns the length.
    """
    cdef Py_ssize_t length
    if known_at[0]:
        block[0] = INDEXED | (NEWEST_PLACE + connection.indexed_count - known_at[0])
        return 1
    if connection.is_literal:
        length = PyBytes_GET_SIZE(literal)
        memcpy(block, PyBytes_AS_STRING(literal), length)
        return length
    connection.indexed_count += 1
    known_at[0] = connection.indexed_count
    length = PyBytes_GET_SIZE(entering)
    memcpy(block, PyBytes_AS_STRING(entering), length)
    return length


cdef bytes CONTENT_TYPE_ENTERING = (
    bytes([INDEXING | CONTENT_TYPE_PLACE, len(CONTENT_TYPE)]) + CONTENT_TYPE)
cdef bytes STATUS_OK_ENTERING = bytes([INDEXING]) + STATUS_OK


cdef Py_ssize_t put_beginning(Http2Session connection, uint8_t *block) noexcept:
    """Write :status 200 and the content type."""
    cdef Py_ssize_t length = put_table_size(connection, block)
    block[length] = STATUS_200
    length += 1
    return length + put_known(connection, block + length, &connection.content_type_at,
                              CONTENT_TYPE_LITERAL, CONTENT_TYPE_ENTERING)


cdef int write_grpc_headers(Http2Session connection, OutBuffer *out, CStream stream) except -1:
    """Write the headers of an answer with messages."""
    cdef uint8_t *at = out_room(out, FRAME_HEAD_BYTES + FIELD_BYTES_MAX)
    cdef Py_ssize_t length = put_beginning(connection, at + FRAME_HEAD_BYTES)
    write_head(at, <uint32_t>length, HEADERS, END_HEADERS, <uint32_t>stream.stream_id)
    out.length += FRAME_HEAD_BYTES + length
    return 0


cdef int write_status(Http2Session connection, OutBuffer *out, CStream stream) except -1:
    """Write the status that ends an answer: behind the messages, or with the headers."""
    cdef uint8_t[2 * FIELD_BYTES_MAX] block
    cdef Py_ssize_t length
    if stream.is_status_only:
        length = put_beginning(connection, block)
    else:
        length = put_table_size(connection, block)
    if stream.status_code == 0:
        length += put_known(connection, block + length, &connection.status_ok_at,
                            STATUS_OK_LITERAL, STATUS_OK_ENTERING)
        write_frame_head(out, length, HEADERS, END_HEADERS | END_STREAM, stream)
        return out_append(out, block, length)
    fields = literal_fields([
        (b"grpc-status", b"%d" % stream.status_code), (b"grpc-message", stream.status_text)])
    return write_block(connection, out, stream, block[:length] + fields, END_STREAM)


cdef int write_block(
    Http2Session connection, OutBuffer *out, CStream stream, bytes fields, uint8_t flags
) except -1:
    """Write a header block in as many frames as the client's limit makes of it."""
    cdef uint8_t[1] size_update
    cdef uint8_t kind = HEADERS
    cdef Py_ssize_t at = 0, take, left
    if put_table_size(connection, size_update):
        fields = size_update[:1] + fields
    left = PyBytes_GET_SIZE(fields)
    while True:
        take = min(left, connection.frame_bytes_max)
        left -= take
        write_frame_head(out, take, kind, flags | (NO_FLAGS if left else END_HEADERS), stream)
        out_append(out, PyBytes_AS_STRING(fields) + at, take)
        at += take
        if left == 0:
            return 0
        kind, flags = CONTINUATION, NO_FLAGS
