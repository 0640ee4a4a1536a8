"""gRPC calls over one connection, without the GIL."""

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy, memmove
from posix.unistd cimport write

from bench.native.nghttp2_client cimport *

cdef enum:
    WINDOW_BYTES = 1 << 30         # so wide that the server never waits for this client's reading
    FRAME_BYTES_MAX = 65536
    PREFIX_BYTES = 5               # of a gRPC message: compressed or not, length


cdef int link_begin(Link *link, int fd, void *owner, OnMessage on_message,
                    OnEnd on_end) except -1:
    """Begin HTTP/2 on a connected socket, which stays the caller's. The link is zeros before."""
    cdef nghttp2_session_callbacks *callbacks
    cdef nghttp2_option *option
    cdef nghttp2_settings_entry[3] settings
    cdef int failed
    link.fd = fd
    link.owner = owner
    link.on_message = on_message
    link.on_end = on_end
    link.out = <uint8_t *>calloc(1, OUT_BYTES)
    if link.out == NULL or nghttp2_session_callbacks_new(&callbacks):
        raise MemoryError
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header)
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data)
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close)
    if nghttp2_option_new(&option):
        nghttp2_session_callbacks_del(callbacks)
        raise MemoryError
    nghttp2_option_set_no_closed_streams(option, 1)
    failed = nghttp2_session_client_new2(&link.session, callbacks, <void *>link, option)
    nghttp2_session_callbacks_del(callbacks)
    nghttp2_option_del(option)
    if failed:
        raise MemoryError
    settings[0].settings_id = NGHTTP2_SETTINGS_ENABLE_PUSH
    settings[0].value = 0
    settings[1].settings_id = NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE
    settings[1].value = WINDOW_BYTES
    settings[2].settings_id = NGHTTP2_SETTINGS_MAX_FRAME_SIZE
    settings[2].value = FRAME_BYTES_MAX
    nghttp2_submit_settings(link.session, NGHTTP2_FLAG_NONE, settings, 3)
    nghttp2_session_set_local_window_size(link.session, NGHTTP2_FLAG_NONE, 0, WINDOW_BYTES)
    return 0


cdef void link_free(Link *link) noexcept nogil:
    """Release the session and the buffer; calls of it are closed without a word."""
    link.on_end = NULL
    if link.session != NULL:
        nghttp2_session_del(link.session)
        link.session = NULL
    free(link.out)
    link.out = NULL


cdef int link_flush(Link *link) noexcept nogil:
    """Write what nghttp2 has to send. Returns 0, or -1: the connection is gone."""
    cdef const uint8_t *frames
    cdef ssize_t size = 1
    cdef ssize_t done
    link.dirty = False
    while True:
        if link.out_written == link.out_length:
            link.out_written = link.out_length = 0
            # A frame is at most 16 KiB, until the server announces that it takes larger ones.
            while link.out_length + FRAME_BYTES_MAX + 9 <= OUT_BYTES:
                size = nghttp2_session_mem_send(link.session, &frames)
                if size < 0 or link.out_length + <size_t>size > OUT_BYTES:
                    return -1
                if size == 0:
                    break
                memcpy(link.out + link.out_length, frames, size)
                link.out_length += size
            if link.out_length == 0:
                link.blocked = False
                return 0
        done = write(link.fd, link.out + link.out_written, link.out_length - link.out_written)
        if done < 0:
            if errno == EINTR:
                continue
            if errno == EAGAIN:
                link.blocked = True
                return 0
            return -1
        link.out_written += done


cdef ssize_t link_receive(Link *link, const uint8_t *data, size_t length) noexcept nogil:
    """Parse what was read; the callbacks run in here. Negative: not HTTP/2, or a GOAWAY's end."""
    cdef ssize_t taken = nghttp2_session_mem_recv(link.session, data, length)
    if taken >= 0 and not nghttp2_session_want_read(link.session) \
            and not nghttp2_session_want_write(link.session):
        return -1
    return taken


cdef uint8_t *call_room(Call *call, size_t length) noexcept nogil:
    """Return where the next request's `length` bytes go, frame included; NULL: no memory."""
    cdef uint8_t *larger
    if length > call.request_capacity:
        larger = <uint8_t *>realloc(call.request, length)
        if larger == NULL:
            return NULL
        call.request = larger
        call.request_capacity = length
    call.request_length = length
    call.request_sent = 0
    return call.request


cdef int call_begin(Call *call, const nghttp2_nv *headers) noexcept nogil:
    """Open a stream with the request in `call_room`. Returns -1 where nghttp2 refuses."""
    cdef nghttp2_data_provider provider
    provider.source.ptr = call
    provider.read_callback = read_request
    call.answer_length = 0
    call.grpc_status = STATUS_NONE
    call.text[0] = 0
    call.stream_id = nghttp2_submit_request(
        call.link.session, NULL, headers, HEADER_COUNT, &provider, call)
    if call.stream_id < 0:
        call.stream_id = 0
        return -1
    return 0


cdef int call_more(Call *call) noexcept nogil:
    """Send the request in `call_room` on the stream that is open already."""
    return nghttp2_session_resume_data(call.link.session, call.stream_id)


cdef ssize_t read_request(nghttp2_session *session, int32_t stream_id, uint8_t *buf, size_t length,
                          uint32_t *data_flags, nghttp2_data_source *source,
                          void *user_data) noexcept nogil:
    cdef Call *call = <Call *>source.ptr
    cdef size_t left = call.request_length - call.request_sent
    cdef size_t size = min(left, length)
    if left == 0:
        return NGHTTP2_ERR_DEFERRED
    memcpy(buf, call.request + call.request_sent, size)
    call.request_sent += size
    if size == left and not call.stays_open:
        data_flags[0] = NGHTTP2_DATA_FLAG_EOF
    return size


cdef int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                   size_t name_length, const uint8_t *value, size_t value_length, uint8_t flags,
                   void *user_data) noexcept nogil:
    cdef Call *call
    cdef size_t i
    if name_length == 7 and memcmp(name, b":status", 7) == 0:
        if value_length == 3 and memcmp(value, b"200", 3) == 0:
            return 0
    elif name_length < 11 or name_length > 12 or memcmp(name, b"grpc-", 5) != 0:
        return 0
    call = <Call *>nghttp2_session_get_stream_user_data(session, frame.hd.stream_id)
    if call == NULL:
        return 0
    if name[0] == 58:          # ":", of ":status"
        call.grpc_status = STATUS_BAD_HTTP
    elif name_length == 11 and memcmp(name, b"grpc-status", 11) == 0:
        call.grpc_status = 0
        for i in range(min(value_length, 4)):
            if 48 <= value[i] <= 57:
                call.grpc_status = call.grpc_status * 10 + value[i] - 48
    elif name_length == 12 and memcmp(name, b"grpc-message", 12) == 0:
        value_length = min(value_length, TEXT_BYTES - 1)
        memcpy(call.text, value, value_length)
        call.text[value_length] = 0
    return 0


cdef inline size_t message_length(const uint8_t *data) noexcept nogil:
    return (<size_t>data[1] << 24) | (<size_t>data[2] << 16) | (<size_t>data[3] << 8) | data[4]


cdef int keep(Call *call, const uint8_t *data, size_t length) noexcept nogil:
    """Add bytes to the message that is not complete."""
    cdef uint8_t *larger
    cdef size_t needed = call.answer_length + length
    if needed > call.answer_capacity:
        larger = <uint8_t *>realloc(call.answer, 2 * needed)
        if larger == NULL:
            return -1
        call.answer = larger
        call.answer_capacity = 2 * needed
    memcpy(call.answer + call.answer_length, data, length)
    call.answer_length = needed
    return 0


cdef int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data,
                 size_t length, void *user_data) noexcept nogil:
    """Hand over complete messages, from nghttp2's memory where they come in one piece."""
    cdef Link *link = <Link *>user_data
    cdef Call *call = <Call *>nghttp2_session_get_stream_user_data(session, stream_id)
    cdef size_t size
    cdef size_t at = 0
    cdef bint kept
    if call == NULL:
        return 0
    kept = call.answer_length > 0
    if kept:
        if keep(call, data, length):
            return -1
        data = call.answer
        length = call.answer_length
    while length - at >= PREFIX_BYTES:
        size = message_length(data + at)
        if length - at - PREFIX_BYTES < size:
            break
        link.on_message(link.owner, call, data + at + PREFIX_BYTES, size)
        at += PREFIX_BYTES + size
    if kept:
        if at:
            memmove(call.answer, call.answer + at, length - at)
            call.answer_length = length - at
    elif at < length and keep(call, data + at, length - at):
        return -1
    return 0


cdef int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code,
                         void *user_data) noexcept nogil:
    cdef Link *link = <Link *>user_data
    cdef Call *call = <Call *>nghttp2_session_get_stream_user_data(session, stream_id)
    if call != NULL and link.on_end != NULL:
        call.stream_id = 0
        link.on_end(link.owner, call, error_code)
    return 0
