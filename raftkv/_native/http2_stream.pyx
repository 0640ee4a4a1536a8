"""One gRPC (or plain HTTP) request on an HTTP/2 connection.

The request side cuts messages out of DATA frames (1 byte compressed flag, 4 bytes length,
big-endian; gRPC over HTTP/2 protocol, "Length-Prefixed-Message"). The answer side keeps a queue of
messages that `http2_sender` writes as flow control lets it: a message is copied once, from the
bytes object that the handler gave into the buffer that goes to the socket.
"""

import collections
import logging

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy

from raftkv._native.http2_frames cimport INTERNAL_ERROR
from raftkv._native.http2_headers cimport HEADER_FIELD_OVERHEAD
from raftkv._native.http2_id_table cimport table_add, table_find, table_remove
from raftkv._native.http2_wire cimport (
    encode_prefix, GRPC_PREFIX_BYTES, literal_fields, out_append, OutBuffer, percent_encoded,
)
from raftkv._native.padded_message cimport padded_message

from raftkv._native.gzip_message import PackedMessageError, unpacked

log = logging.getLogger("raftkv.http2")

cdef enum:
    CANCELED = 1
    UNIMPLEMENTED = 12
    INTERNAL = 13
    RESOURCE_EXHAUSTED = 8
    LARGE_BYTES = 32 << 10           # of a message: saving a copy is worth the question

cdef str TOO_MANY_PARTIAL = "grpc: too many incomplete messages on the connection"

cdef Py_ssize_t live_streams = 0


def live_stream_objects():
    return live_streams                               # Stream objects in memory


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

    cdef Stream find_stream(self, uint32_t stream_id):
        """Return an attached stream, or None."""
        cdef void *found = self.latest
        if found == NULL or <uint32_t>(<Stream>found).stream_id != stream_id:
            found = table_find(&self.table, stream_id)
        return None if found == NULL else <Stream>found


cdef class Stream:
    """A request and its answer. Made by the connection; handlers get it and keep it as they like.

    After `closed` is true every sending method does nothing and returns False, so an answer that
    comes late needs no check.
    """

    def __cinit__(self):
        global live_streams
        live_streams += 1
        self.reset_code = NOT_RESET

    def __dealloc__(self):
        global live_streams
        live_streams -= 1

    def __repr__(self):
        return (f"<Stream {self.stream_id} of connection {self.connection_id}"
                f" {self.path.decode('utf-8', 'replace')}{' closed' if self.closed else ''}>")

    # What the client asked.

    @property
    def path(self):
        """The :path, or b"" before it arrived."""
        if self.method is not None:
            return self.method.path
        return b"" if self.head is None else self.head.path()

    @property
    def http_method(self):
        """The :method; gRPC is always b"POST"."""
        return b"POST" if self.head is None else self.head.http_method()

    @property
    def is_post(self):
        """Whether :method is POST."""
        return self.head is not None and self.head.is_post

    @property
    def metadata(self):
        """The regular header fields in order, copied at each call; names are lower-case."""
        return [] if self.head is None else self.head.listed()

    @property
    def deadline_s(self):
        """The seconds that the client waits, counted from the request's arrival, or None."""
        return None if self.head is None or self.head.timeout_s < 0 else self.head.timeout_s

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
        if tail is not None:
            size += PyBytes_GET_SIZE(tail)
        if size == 0:
            return True
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
        self.headers_sent = True
        self.make_ready()
        return True

    cdef int stall(self) noexcept:
        """Wait for the stream's own window, in no list."""
        self.stalled = True
        self.connection.stalled_count += 1
        return 0

    cdef int unstall(self) except -1:
        """Go on if the window was waited for."""
        if self.stalled:
            self.stalled = False
            self.connection.stalled_count -= 1
            self.make_ready()
        return 0

    cdef int make_ready(self) except -1:
        """Have the next flush look at this stream, unless its window is shut."""
        cdef Http2Session connection = self.connection
        if self.place == NOWHERE and not self.stalled:
            list_stream(&connection.ready, AMONG_READY, self)
        return connection.mark_dirty()

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
        self.reset_code = INTERNAL_ERROR
        unlist_stream(self.connection, self)
        self.unstall()
        self.make_ready()
        return True

    cpdef bint finish(self, int code=0, str text="") except -1:
        """End the stream with a status once the queued messages are sent. Callable once."""
        if self.closed or self.finishing:
            return False
        if not (self.is_grpc or self.headers_sent or self.headers_too_large):
            return self.reply_http(503, b"text/plain", text.encode())
        if self.is_plain_http and code != 0:           # cut short, and only a reset can say so
            return self.reset()
        self.finishing = True
        self.discarding = True
        self.status_code = code
        if self.method is not None:
            self.method.count_end(code, self.began_s)
        if code != 0:
            self.status_text = percent_encoded(text)
        if not self.headers_sent:
            self.headers_sent = self.is_status_only = True
        self.make_ready()
        return True

    cpdef bint begin_http(
            self, int status, bytes content_type, object headers=(),
            Py_ssize_t length=-1) except -1:
        """Begin the answer to a request that is not gRPC; its body is what `send` is given.

        `headers` are further fields as pairs of bytes, at most 12; `length` is the body's, if
        known. False if the answer has begun already or the stream has ended.
        """
        if self.closed or self.headers_sent:
            return False
        fields = [(b":status", b"%d" % status), (b"content-type", content_type), *headers]
        if length >= 0:
            fields.append((b"content-length", b"%d" % length))
        self.http_fields = literal_fields(fields)
        self.is_plain_http = self.unframed = self.headers_sent = True
        self.ends_with_headers = length == 0
        self.make_ready()
        return True

    cpdef bint reply_http(
            self, int status, bytes content_type, bytes body, object headers=()) except -1:
        """Answer a request that is not gRPC, whole."""
        if not self.begin_http(status, content_type, headers, PyBytes_GET_SIZE(body)):
            return False
        self.send(body)
        return self.finish()

    # The request as it arrives; called by `http2_receiver`.

    cdef int keep_header(self, const uint8_t *name, size_t name_length, const uint8_t *value,
                         size_t value_length) except -1:
        """Take one header field, within the bounds."""
        cdef Py_ssize_t size = <Py_ssize_t>(name_length + value_length) + HEADER_FIELD_OVERHEAD
        if self.headers_too_large:
            return 0
        if self.held_bytes + size > self.connection.header_bytes_max \
                or partial_full(self.connection, size):
            self.headers_too_large = True
            return 0
        self.held_bytes += size
        count_partial(self.connection, size)
        return self.head.add(name, name_length, value, value_length)

    cdef int take_head(self, HeaderBlock head) except -1:
        """Take all header fields at once, which others have had already."""
        self.head = head
        self.headers_too_large = partial_full(self.connection, head.size)
        if not self.headers_too_large:
            self.held_bytes += head.size
            count_partial(self.connection, head.size)
        return 0

    cdef int headers_complete(self) except -1:
        """Find the handler; refuse what has none."""
        cdef HeaderBlock head = self.head
        self.is_grpc = head.is_grpc
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
        if not head.is_post:
            self.reply_http(405, b"text/plain", b"a gRPC request is a POST\n")
            return 0
        if head.method is None:
            path = head.path()
            head.method = self.connection.methods.methods.get(path)
            if head.method is None:
                self.finish(UNIMPLEMENTED, self.connection.methods.refusal(path))
                return 0
        self.method = head.method
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
                memcpy(PyBytes_AS_STRING(self.message) + self.headroom + self.message_filled,
                       data, take)
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
        if self.message is None:
            self.message = bytearray()                 # grows in place, however small the parts
        self.message += PyBytes_FromStringAndSize(<char *>data, length)
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
            self.finish(RESOURCE_EXHAUSTED, TOO_MANY_PARTIAL)
            return 0
        try:
            self.headroom = self.headroom_for(size)
        except BaseException as error:
            return connection.handler_failed(self, error)
        self.message = PyBytes_FromStringAndSize(NULL, self.headroom + size)
        self.message_size = size
        self.message_filled = 0
        count_partial(connection, size)
        return 1

    cdef Py_ssize_t headroom_for(self, Py_ssize_t size) except -1:
        """Return what the method wants in front of a message that begins; 0 for most."""
        cdef Py_ssize_t headroom
        if size < LARGE_BYTES or self.prefix[0] == 1 or self.method.large_handler is None:
            return 0
        headroom = self.method.large_handler.headroom(size)
        if headroom < 0:
            raise ValueError("headroom is not negative")
        return headroom

    cdef int end_message(self) except -1:
        """Give a complete message to a streaming handler, or keep it for the unary one.

        The unary one waits, and is counted, until the client says that nothing follows.
        """
        self.prefix_filled = 0
        if self.prefix[0] == 1 and not self.unpack_message():
            return 0
        self.method.received += 1
        if not self.method.is_streaming:
            self.message_complete = True
            return 0
        try:
            self.handler.on_message(take_message(self))
        except BaseException as error:
            self.connection.handler_failed(self, error)
        return 0

    cdef int unpack_message(self) except -1:
        """Put what a compressed message holds in its place. 0 if it is refused."""
        cdef Py_ssize_t size
        try:
            message = unpacked(take_message(self), self.connection.request_bytes_max)
        except PackedMessageError as error:
            self.finish(error.status, error.text)
            return 0
        size = len(message)
        if not self.method.is_streaming and partial_full(self.connection, size):
            self.finish(RESOURCE_EXHAUSTED, TOO_MANY_PARTIAL)
            return 0
        self.message = message
        self.message_size = self.message_filled = size
        count_partial(self.connection, size)
        return 1

    cdef int request_complete(self) except -1:
        """The client has sent all: call the unary handler, or tell the streaming one."""
        self.half_closed = True
        if self.discarding or self.closed:
            return 0
        try:
            if not self.is_grpc and self.handler is not None:
                self.handler.on_half_close()
            elif not self.is_grpc:
                self.connection.http_handler(self, bytes(take_message(self) or b""))
            elif self.prefix_filled > 0:
                self.finish(INTERNAL, "unexpected EOF")
            elif self.method.is_streaming:
                self.handler.on_half_close()
            elif not self.message_complete:
                self.finish(INTERNAL, "EOF")
            else:
                self.call_unary()
        except BaseException as error:
            self.connection.handler_failed(self, error)
        return 0

    cdef int call_unary(self) except -1:
        """Give the request to its handler, and keep no reference to it."""
        cdef Py_ssize_t headroom = self.headroom
        if headroom == 0:
            self.method.handler(self, take_message(self))
        else:
            self.method.large_handler.on_large(self, padded_message(take_message(self), headroom))
        return 0

    # Membership in the connection.

    cdef int attach(self) except -1:
        """Enter the connection's list, which holds a reference until `leave`."""
        cdef Http2Session connection = self.connection
        table_add(&connection.table, <uint32_t>self.stream_id, <void *>self)
        connection.latest = <void *>self
        self.next_stream = connection.first_stream
        if self.next_stream != NULL:
            (<Stream>self.next_stream).previous_stream = <void *>self
        connection.first_stream = <void *>self
        self.attached = True
        connection.stream_count += 1
        connection.totals.streams += 1
        Py_INCREF(self)
        return 0

    cdef int leave(self) except -1:
        """Leave the connection's list: nothing can be sent any more."""
        cdef Http2Session connection = self.connection
        if not self.attached:
            return 0
        self.attached = False
        self.closed = True
        if self.stalled:
            self.stalled = False
            connection.stalled_count -= 1
        unlist_stream(connection, self)
        table_remove(&connection.table, <uint32_t>self.stream_id)
        if connection.latest == <void *>self:
            connection.latest = NULL
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
        take_message(self)
        count_partial(connection, -self.held_bytes)
        self.held_bytes = 0
        self.pending_bytes = 0
        self.queue = self.out_head = self.out_tail = None
        Py_DECREF(self)
        return 0

    cdef int tell_closed(self) except -1:
        """Tell the handler, once, that the stream has ended."""
        handler, on_closed = self.handler, self.on_closed
        self.handler = self.on_closed = self.on_drained = None
        try:
            if handler is not None:
                handler.on_closed()
            if on_closed is not None:
                on_closed()
        except BaseException as error:
            self.connection.handler_failed(self, error)
        return 0

    cdef int detach(self) except -1:
        """Leave the connection and tell the handler. Harmless twice."""
        if self.attached:
            Py_INCREF(self)                            # the list's reference may be the last
            self.leave()
            self.tell_closed()
            Py_DECREF(self)
        return 0


cdef object take_message(Stream stream):
    """Return the message, or what there is of it, or None; the stream counts it no more."""
    message, stream.message = stream.message, None
    count_partial(stream.connection, -stream.message_size)
    stream.message_size = stream.message_filled = 0
    return message
