"""One gRPC (or plain HTTP) request on an HTTP/2 connection.

The request side cuts messages out of DATA frames (1 byte compressed flag, 4 bytes length,
big-endian; gRPC over HTTP/2 protocol, "Length-Prefixed-Message"). The answer side keeps a queue of
messages that nghttp2 pulls as flow control lets it: a message is copied once, from the bytes
object that the handler gave into the buffer that goes to the socket. Header fields stay in
nghttp2's reference-counted buffers until somebody asks for them.
"""

import collections
import logging

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.string cimport memcmp, memcpy

from raftkv._native.http2_headers cimport free_fields, keep_field, listed_fields
from raftkv._native.http2_wire cimport (
    bytes_of, CONSTANT_FIELD, encode_prefix, equals, field, GRPC_PREFIX_BYTES, out_append,
    OutBuffer, parse_timeout, percent_encoded, submit_fields, submit_grpc_headers,
    submit_grpc_status,
)
from raftkv._native.nghttp2 cimport *

from raftkv._native.gzip_message import PackedMessageError, unpacked

log = logging.getLogger("raftkv.http2")

cdef enum:
    CANCELED = 1
    UNIMPLEMENTED = 12
    INTERNAL = 13
    RESOURCE_EXHAUSTED = 8
    HEADER_FIELD_OVERHEAD = 32     # RFC 9113 §6.5.2

cdef Py_ssize_t live_streams = 0


def live_stream_objects():
    """Return how many Stream objects are in memory."""
    return live_streams


cdef class Http2Session:
    """What a stream needs of its connection; `http2.Connection` is the only subclass."""

    cdef int mark_dirty(self) except -1:
        raise NotImplementedError

    cdef int handler_failed(self, Stream stream, object error) except -1:
        """Turn what a handler raised into INTERNAL for its stream; keep what must stop us."""
        if not isinstance(error, Exception):
            self.escaped = error
        path = stream.path.decode("utf-8", "replace")
        log.error("handler failed", exc_info=error, extra={"path": path})
        stream.finish(INTERNAL, "internal error")
        return 0


cdef class Stream:
    """A request and its answer. Made by the connection; handlers get it and keep it as they like.

    After `closed` is true every sending method does nothing and returns False, so an answer that
    comes late needs no check.
    """

    def __cinit__(self):
        global live_streams
        live_streams += 1
        self.timeout_s = -1

    def __dealloc__(self):
        global live_streams
        live_streams -= 1
        free_fields(&self.fields)
        if self.path_field != NULL:
            nghttp2_rcbuf_decref(self.path_field)
        if self.method_field != NULL:
            nghttp2_rcbuf_decref(self.method_field)

    def __repr__(self):
        return (f"<Stream {self.stream_id} of connection {self.connection_id}"
                f" {self.path.decode('utf-8', 'replace')}{' closed' if self.closed else ''}>")

    # What the client asked.

    @property
    def path(self):
        """The :path, or b"" before it arrived."""
        if self.method is not None:
            return self.method.path
        return b"" if self.path_field == NULL else bytes_of(self.path_field)

    @property
    def http_method(self):
        """The :method; gRPC is always b"POST"."""
        return b"POST" if self.method_field == NULL else bytes_of(self.method_field)

    @property
    def metadata(self):
        """The regular header fields in order, copied at each call; names are lower-case."""
        return listed_fields(&self.fields)

    @property
    def deadline_s(self):
        """The seconds that the client waits, counted from the request's arrival, or None."""
        return None if self.timeout_s < 0 else self.timeout_s

    @property
    def drain_pending(self):
        """True while `on_drained` is still to be called: the queue was, and is, above the mark."""
        return self.drain_armed and not self.closed

    @property
    def peer(self):
        """The socket address of the client, as `transport.get_extra_info("peername")`."""
        return self.connection.peer_address

    @property
    def peer_common_name(self):
        """The common name in the client's certificate, or "" where it gave none."""
        return self.connection.peer_common_name

    @property
    def is_secure(self):
        """Whether the connection is encrypted."""
        return self.connection.is_secure

    @property
    def connection_id(self):
        """A number that no other connection of this server has or had."""
        return self.connection.connection_id

    # Answers.

    cpdef bint reply(self, bytes message) except -1:
        """Send the one answer of a unary method with status OK."""
        return self.send(message) and self.finish()

    cpdef bint fail(self, int code, str text) except -1:
        """End the stream with an error; trailers only if nothing was sent before."""
        return self.finish(code, text)

    cpdef bint send(self, bytes head, bytes tail=None) except -1:
        """Queue one message, made of `head` and `tail`; neither is copied before it is written.

        `tail` may be shared by many streams. False if nothing was queued: the stream has ended,
        or the connection's queue is full, which ends the stream with RESOURCE_EXHAUSTED.
        """
        cdef Py_ssize_t size
        if self.closed or self.finishing:
            return False
        if head is None:
            raise TypeError("a message is bytes, not None")
        size = PyBytes_GET_SIZE(head)
        if not self.unframed:
            size += GRPC_PREFIX_BYTES
        elif size == 0:
            return True
        if tail is not None:
            size += PyBytes_GET_SIZE(tail)
        if queue_full(self.connection, size):
            self.finish(RESOURCE_EXHAUSTED, "grpc: the client does not take its answers")
            return False
        if self.out_head is None:
            self.out_head, self.out_tail = head, tail
            self.out_offset = GRPC_PREFIX_BYTES if self.unframed else 0
        else:
            if self.queue is None:
                self.queue = collections.deque()
            self.queue.append((head, tail))
        if self.method is not None and not self.unframed:
            self.method.sent += 1
        self.pending_bytes += size
        count_queued(self.connection, size)
        if self.pending_bytes >= self.connection.drain_low_water_bytes:
            self.drain_armed = True
        if not self.headers_sent:
            self.submit_headers()
        elif self.deferred:
            self.deferred = False
            nghttp2_session_resume_data(self.connection.session, self.stream_id)
        self.connection.mark_dirty()
        return True

    cpdef bint begin_large(self, Py_ssize_t size) except -1:
        """Begin a unary answer with a message of `size` bytes; `send` is then given its pieces.

        Exactly `size` bytes must follow before `finish`; who cannot keep that calls `reset`.
        """
        cdef uint8_t[GRPC_PREFIX_BYTES] prefix
        if self.closed or self.finishing or self.headers_sent:
            return False
        if not 0 <= size <= 0xFFFFFFFF:
            raise ValueError("a gRPC message is shorter than 4 GiB")
        encode_prefix(prefix, <uint32_t>size)
        if self.method is not None:
            self.method.sent += 1
        self.unframed = True
        return self.send(PyBytes_FromStringAndSize(<char *>prefix, GRPC_PREFIX_BYTES))

    cpdef bint reset(self) except -1:
        """Break the stream off in the middle of its answer (RST_STREAM INTERNAL_ERROR)."""
        if self.closed or self.finishing:
            return False
        self.finishing = self.discarding = True
        if self.method is not None:
            self.method.count_end(INTERNAL, self.began_s)
        nghttp2_submit_rst_stream(self.connection.session, NGHTTP2_FLAG_NONE, self.stream_id,
                                  NGHTTP2_INTERNAL_ERROR)
        self.connection.mark_dirty()
        return True

    cpdef bint finish(self, int code=0, str text="") except -1:
        """End the stream with a status once the queued messages are sent. Callable once."""
        if self.closed or self.finishing:
            return False
        if not (self.is_grpc or self.headers_sent or self.headers_too_large):
            return self.reply_http(503, b"text/plain", text.encode())
        self.finishing = True
        self.discarding = True
        self.status_code = code
        if self.method is not None:
            self.method.count_end(code, self.began_s)
        if code != 0:
            self.status_text = percent_encoded(text)
        if not self.headers_sent:
            self.headers_sent = True
            self.submit_trailers(True)
        elif self.deferred:
            self.deferred = False
            nghttp2_session_resume_data(self.connection.session, self.stream_id)
        self.connection.mark_dirty()
        return True

    cpdef bint begin_http(
            self, int status, bytes content_type, object headers=(),
            Py_ssize_t length=-1) except -1:
        """Begin the answer to a request that is not gRPC; its body is what `send` is given.

        `headers` are further fields as pairs of bytes, at most 12; `length` is the body's, if
        known. False if the answer has begun already or the stream has ended.
        """
        cdef nghttp2_data_provider provider
        if self.closed or self.headers_sent:
            return False
        fields = [(b":status", b"%d" % status), (b"content-type", content_type), *headers]
        if length >= 0:
            fields.append((b"content-length", b"%d" % length))
        self.is_plain_http = self.unframed = self.headers_sent = True
        provider.source.ptr = <void *>self
        provider.read_callback = stream_read
        submit_fields(
            self.connection.session, self.stream_id, fields, &provider if length else NULL)
        self.connection.mark_dirty()
        return True

    cpdef bint reply_http(
            self, int status, bytes content_type, bytes body, object headers=()) except -1:
        """Answer a request that is not gRPC, whole."""
        if not self.begin_http(status, content_type, headers, PyBytes_GET_SIZE(body)):
            return False
        self.send(body)
        return self.finish()

    cdef int submit_headers(self) except -1:
        cdef nghttp2_data_provider provider
        provider.source.ptr = <void *>self
        provider.read_callback = stream_read
        self.headers_sent = True
        return submit_grpc_headers(self.connection.session, self.stream_id, &provider)

    cdef int submit_trailers(self, bint headers_too) noexcept:
        """Submit the status: after the data, or as the whole answer (`headers_too`)."""
        return submit_grpc_status(self.connection.session, self.stream_id, self.status_code,
                                  self.status_text, headers_too)

    cdef int copy_pending(self, OutBuffer *out, size_t length) except -1:
        """Append the next `length` <= pending_bytes queued bytes to `out` and forget them."""
        cdef uint8_t[GRPC_PREFIX_BYTES] prefix
        cdef Py_ssize_t head_size, tail_size, take, left = <Py_ssize_t>length
        self.pending_bytes -= left
        count_queued(self.connection, -left)
        while left > 0:
            head_size = PyBytes_GET_SIZE(self.out_head)
            tail_size = 0 if self.out_tail is None else PyBytes_GET_SIZE(self.out_tail)
            if self.out_offset < GRPC_PREFIX_BYTES:
                encode_prefix(prefix, <uint32_t>(head_size + tail_size))
                take = min(left, GRPC_PREFIX_BYTES - self.out_offset)
                out_append(out, prefix + self.out_offset, take)
            elif self.out_offset < GRPC_PREFIX_BYTES + head_size:
                take = min(left, GRPC_PREFIX_BYTES + head_size - self.out_offset)
                out_append(out, PyBytes_AS_STRING(self.out_head) + self.out_offset
                           - GRPC_PREFIX_BYTES, take)
            else:
                take = min(left, GRPC_PREFIX_BYTES + head_size + tail_size - self.out_offset)
                out_append(out, PyBytes_AS_STRING(self.out_tail) + self.out_offset
                           - GRPC_PREFIX_BYTES - head_size, take)
            self.out_offset += take
            left -= take
            if self.out_offset == GRPC_PREFIX_BYTES + head_size + tail_size:
                self.out_offset = GRPC_PREFIX_BYTES if self.unframed else 0
                if self.queue:
                    self.out_head, self.out_tail = self.queue.popleft()
                else:
                    self.out_head = self.out_tail = None
        if self.drain_armed and self.pending_bytes < self.connection.drain_low_water_bytes:
            self.drain_armed = False
            if self.on_drained is not None:
                self.connection.drained.append(self)
        return 0

    # The request as it arrives; called by the connection's nghttp2 callbacks.

    cdef int keep_header(self, nghttp2_rcbuf *name, nghttp2_rcbuf *value) except -1:
        """Look at one header field and keep a reference to it."""
        cdef nghttp2_vec n = nghttp2_rcbuf_get_buf(name)
        cdef nghttp2_vec v = nghttp2_rcbuf_get_buf(value)
        cdef Py_ssize_t size = n.len + v.len + HEADER_FIELD_OVERHEAD
        if self.headers_too_large:
            return 0
        if self.held_bytes + size > self.connection.header_bytes_max \
                or partial_full(self.connection, size):
            self.headers_too_large = True
            return 0
        self.held_bytes += size
        count_partial(self.connection, size)
        if n.len > 0 and n.base[0] == c':':
            if equals(n, ":path", 5) and self.path_field == NULL:
                nghttp2_rcbuf_incref(value)
                self.path_field = value
            elif equals(n, ":method", 7):
                self.is_post = equals(v, "POST", 4)
                if not self.is_post and self.method_field == NULL:
                    nghttp2_rcbuf_incref(value)
                    self.method_field = value
            if not equals(n, ":authority", 10):
                return 0
        if equals(n, "content-type", 12):
            self.is_grpc = v.len >= 16 and memcmp(v.base, "application/grpc", 16) == 0
        elif equals(n, "grpc-timeout", 12):
            self.timeout_s = parse_timeout(v.base, v.len)
        keep_field(&self.fields, name, value)
        return 0

    cdef int headers_complete(self) except -1:
        """Find the handler; refuse what has none."""
        if self.headers_too_large:
            self.finish(RESOURCE_EXHAUSTED, "received metadata size exceeds limit")
            return 0
        if not self.is_grpc:
            if self.connection.http_handler is None:
                self.reply_http(415, b"text/plain", b"content-type must be application/grpc\n")
            elif self.connection.http_open is not None:
                try:
                    self.handler = self.connection.http_open(self)
                except BaseException as error:
                    self.connection.handler_failed(self, error)
            return 0
        if not self.is_post:
            self.reply_http(405, b"text/plain", b"a gRPC request is a POST\n")
            return 0
        path = self.path
        self.method = self.connection.methods.methods.get(path)
        if self.method is None:
            self.finish(UNIMPLEMENTED, self.connection.methods.refusal(path))
            return 0
        self.method.started += 1
        self.began_s = now_s()
        if self.method.is_streaming:
            try:
                self.handler = self.method.handler(self)
            except BaseException as error:
                self.connection.handler_failed(self, error)
        return 0

    cdef int take_data(self, const uint8_t *data, size_t length) except -1:
        """Cut gRPC messages out of the body."""
        cdef size_t take
        cdef Py_ssize_t wanted
        if not self.is_grpc:
            return self.take_body(data, length)
        while length > 0 and not self.discarding and not self.closed:
            if self.message_complete:
                self.finish(INTERNAL, "grpc: a unary request has more than one message")
                return 0
            if self.prefix_filled < GRPC_PREFIX_BYTES:
                take = min(length, <size_t>(GRPC_PREFIX_BYTES - self.prefix_filled))
                memcpy(self.prefix + self.prefix_filled, data, take)
                self.prefix_filled += <int>take
                data += take
                length -= take
                if self.prefix_filled < GRPC_PREFIX_BYTES or not self.begin_message():
                    continue
            wanted = self.message_size - self.message_filled
            take = min(length, <size_t>wanted)
            if take > 0:
                memcpy(PyBytes_AS_STRING(self.message) + self.message_filled, data, take)
            self.message_filled += take
            data += take
            length -= take
            if self.message_filled == self.message_size:
                self.end_message()
        return 0

    cdef int take_body(self, const uint8_t *data, size_t length) except -1:
        """Gather the body of a plain HTTP request, or give it to whoever opened it."""
        if self.discarding or self.closed:
            return 0
        if self.handler is not None:
            try:
                self.handler.on_message(PyBytes_FromStringAndSize(<char *>data, length))
            except BaseException as error:
                self.connection.handler_failed(self, error)
            return 0
        if self.message_filled + <Py_ssize_t>length > self.connection.request_bytes_max:
            self.reply_http(413, b"text/plain", b"request body too large\n")
            return 0
        if partial_full(self.connection, length):
            self.reply_http(503, b"text/plain", b"too many incomplete requests\n")
            return 0
        self.held_bytes += length
        count_partial(self.connection, length)
        part = PyBytes_FromStringAndSize(<char *>data, length)
        self.message = part if self.message is None else self.message + part
        self.message_filled += length
        return 0

    cdef int begin_message(self) except -1:
        """Make room for the message that the prefix announces. 0 if it is refused."""
        cdef Http2Session connection = self.connection
        cdef uint32_t size = ((<uint32_t>self.prefix[1] << 24) | (<uint32_t>self.prefix[2] << 16)
                              | (<uint32_t>self.prefix[3] << 8) | self.prefix[4])
        if self.prefix[0] > 1:
            self.finish(INTERNAL, f"grpc: received unexpected payload format {self.prefix[0]}")
            return 0
        if self.prefix[0] == 1:
            encoding = dict(self.metadata).get(b"grpc-encoding", b"").decode("latin-1")
            if encoding in ("", "identity"):
                self.finish(INTERNAL, "grpc: compressed flag set with identity or empty encoding")
                return 0
            if encoding != "gzip":
                self.finish(
                    UNIMPLEMENTED,
                    f'grpc: Decompressor is not installed for grpc-encoding "{encoding}"')
                return 0
        if size > connection.request_bytes_max:
            self.finish(
                RESOURCE_EXHAUSTED, "grpc: received message larger than max "
                f"({size} vs. {connection.request_bytes_max})")
            return 0
        if partial_full(connection, size):
            self.finish(RESOURCE_EXHAUSTED, "grpc: too many incomplete messages on the connection")
            return 0
        self.message = PyBytes_FromStringAndSize(NULL, size)
        self.message_size = size
        self.message_filled = 0
        count_partial(connection, size)
        return 1

    cdef int end_message(self) except -1:
        """Give a complete message to a streaming handler, or keep it for the unary one."""
        count_partial(self.connection, -self.message_size)
        self.prefix_filled = 0
        if self.prefix[0] == 1:
            try:
                self.message = unpacked(self.message, self.connection.request_bytes_max)
            except PackedMessageError as error:
                self.message = None
                self.message_size = self.message_filled = 0
                self.finish(error.status, error.text)
                return 0
        self.method.received += 1
        if not self.method.is_streaming:
            self.message_complete = True
            return 0
        message, self.message = self.message, None
        self.message_size = self.message_filled = 0
        try:
            self.handler.on_message(message)
        except BaseException as error:
            self.connection.handler_failed(self, error)
        return 0

    cdef int request_complete(self) except -1:
        """The client has sent all: call the unary handler, or tell the streaming one."""
        self.half_closed = True
        if self.discarding or self.closed:
            return 0
        try:
            if not self.is_grpc and self.handler is not None:
                self.handler.on_half_close()
            elif not self.is_grpc:
                body, self.message = self.message, None
                self.connection.http_handler(self, body or b"")
            elif self.prefix_filled > 0:
                self.finish(INTERNAL, "unexpected EOF")
            elif self.method.is_streaming:
                self.handler.on_half_close()
            elif not self.message_complete:
                self.finish(INTERNAL, "EOF")
            else:
                message, self.message = self.message, None
                self.method.handler(self, message)
        except BaseException as error:
            self.connection.handler_failed(self, error)
        return 0

    # Membership in the connection.

    cdef int attach(self) except -1:
        """Enter the connection's list, which holds a reference until `detach`."""
        cdef Http2Session connection = self.connection
        self.next_stream = connection.first_stream
        if self.next_stream != NULL:
            (<Stream>self.next_stream).previous_stream = <void *>self
        connection.first_stream = <void *>self
        self.attached = True
        connection.stream_count += 1
        connection.totals.streams += 1
        Py_INCREF(self)
        return 0

    cdef int detach(self) except -1:
        """Leave the connection's list: nothing can be sent any more. Tells the handler."""
        cdef Http2Session connection = self.connection
        if not self.attached:
            return 0
        self.attached = False
        self.closed = True
        if self.previous_stream != NULL:
            (<Stream>self.previous_stream).next_stream = self.next_stream
        else:
            connection.first_stream = self.next_stream
        if self.next_stream != NULL:
            (<Stream>self.next_stream).previous_stream = self.previous_stream
        self.previous_stream = self.next_stream = NULL
        connection.stream_count -= 1
        connection.totals.streams -= 1
        count_queued(connection, -self.pending_bytes)
        if self.method is not None and not self.finishing:
            self.method.count_end(CANCELED, self.began_s)
        if self.is_grpc and self.message is not None and not self.message_complete:
            count_partial(connection, -self.message_size)
        count_partial(connection, -self.held_bytes)
        self.held_bytes = 0
        self.pending_bytes = 0
        self.queue = self.out_head = self.out_tail = self.message = None
        handler, on_closed = self.handler, self.on_closed
        self.handler = self.on_closed = self.on_drained = None
        try:
            if handler is not None:
                handler.on_closed()
            if on_closed is not None:
                on_closed()
        except BaseException as error:
            connection.handler_failed(self, error)
        finally:
            Py_DECREF(self)
        return 0


cdef ssize_t stream_read(nghttp2_session *session, int32_t stream_id, uint8_t *buf, size_t length,
                         uint32_t *data_flags, nghttp2_data_source *source,
                         void *user_data) noexcept:
    """Tell nghttp2 how much of the queue goes into the next DATA frame; copying comes after."""
    cdef Stream stream = <Stream>source.ptr
    cdef ssize_t size = min(<ssize_t>length, <ssize_t>stream.pending_bytes)
    if size == 0 and not stream.finishing:
        stream.deferred = True
        return NGHTTP2_ERR_DEFERRED
    if size > 0:
        data_flags[0] |= NGHTTP2_DATA_FLAG_NO_COPY
    if size == stream.pending_bytes and stream.finishing:
        data_flags[0] |= NGHTTP2_DATA_FLAG_EOF
        if not stream.is_plain_http:
            data_flags[0] |= NGHTTP2_DATA_FLAG_NO_END_STREAM
            stream.submit_trailers(False)
    return size


cdef int stream_send_data(nghttp2_session *session, nghttp2_frame *frame,
                          const uint8_t *frame_header, size_t length,
                          nghttp2_data_source *source, void *user_data) noexcept:
    """Write the DATA frame that `stream_read` announced."""
    cdef Stream stream = <Stream>source.ptr
    try:
        out_append(stream.connection.out, frame_header, 9)
        stream.copy_pending(stream.connection.out, length)
    except BaseException as error:
        stream.connection.escaped = error
        return NGHTTP2_ERR_CALLBACK_FAILURE
    return 0
