"""A gRPC server for asyncio on libnghttp2.

One read from the socket is parsed whole; handlers run inside it and answer at once or later.
What they answer stays in queues until the connection is flushed: after its own read, or once per
turn of the loop for everything answered elsewhere. A flush pulls frames out of nghttp2 into one
buffer and writes it once, and stops pulling while the transport's buffer is full, so a client that
does not read costs no more than its streams' queues, which are bounded.

Nothing here is re-entrant by accident: nghttp2 forbids receiving, sending and deleting inside
its callbacks, so handlers only ever submit, and `receiving` and `flushing` keep the rest outside.
"""

import asyncio
import logging

from cpython.buffer cimport Py_buffer, PyBUF_WRITABLE, PyObject_GetBuffer, PyBuffer_Release
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.string cimport memcmp

from raftkv._native.http2_handler import StreamHandler
from raftkv._native.http2_limits import Limits
from raftkv._native.http2_methods import MethodTable
from raftkv._native.http2_peer import common_name, keep_alive
from raftkv._native.http2_stream import Stream, live_stream_objects
from raftkv._native.http2_stream cimport (
    FAIR_STREAMS, Http2Session, Stream as CStream, stream_send_data,
)
from raftkv._native.http2_wire cimport out_append
from raftkv._native.nghttp2 cimport *

__all__ = ["Limits", "MethodTable", "Server", "Stream", "StreamHandler", "live_counts"]

log = logging.getLogger("raftkv.http2")

cdef double SWEEP_S_MIN = 0.05
cdef double NEVER_S = 1e9
cdef bytes PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
cdef enum:
    READ_BYTES = 262144            # of the buffer that all connections read into
    WRITE_BYTES = 262144           # frames are gathered up to about this size per write
    FRAME_BYTES_MAX = 65536        # SETTINGS_MAX_FRAME_SIZE that we announce
    UNAVAILABLE = 14

cdef Py_ssize_t live_connections = 0


def live_counts():
    """Return (connections, streams) in memory; both are 0 when every client has gone."""
    return live_connections, live_stream_objects()


cdef class Server:
    """Accepts connections, routes their requests, gathers and writes the answers."""

    def __cinit__(self, methods, http1_factory, limits=None, http_handler=None, http_open=None):
        cdef Py_buffer view
        if not isinstance(methods, MethodTable):
            raise TypeError("methods is a MethodTable")
        self.methods = methods
        self.http1_factory = http1_factory
        self.http_handler = http_handler
        self.http_open = http_open
        self.limits = Limits() if limits is None else limits
        self.connections = set()
        self.dirty = []
        self.read_owner = bytearray(READ_BYTES)
        self.read_buffer = memoryview(self.read_owner)
        PyObject_GetBuffer(self.read_owner, &view, PyBUF_WRITABLE)
        self.read_data = <uint8_t *>view.buf      # read_buffer keeps the bytearray from moving
        PyBuffer_Release(&view)
        self.totals.queued_bytes_max = self.limits.queued_total_bytes_max
        self.totals.partial_bytes_max = self.limits.partial_total_bytes_max
        self.totals.streams_max = self.limits.streams_max
        if nghttp2_session_callbacks_new(&self.callbacks):
            raise MemoryError
        set_callbacks(self.callbacks)
        self.option = session_option(self.limits)

    def __dealloc__(self):
        nghttp2_session_callbacks_del(self.callbacks)
        nghttp2_option_del(self.option)
        PyMem_Free(self.out.data)

    def protocol_factory(self):
        """Return a protocol for one accepted socket; give this to `loop.create_server`."""
        return ServerProtocol(self)

    @property
    def connection_count(self):
        """Connections that speak HTTP/2 or have not said yet."""
        return len(self.connections)

    cdef int enqueue(self, Connection connection) except -1:
        self.dirty.append(connection)
        if not self.flush_scheduled:
            self.flush_scheduled = True
            self.loop.call_soon(self.flush)
        return 0

    cpdef int flush(self) except -1:
        """Write what has been answered since the last flush, one write per connection."""
        cdef Connection connection
        if self.flushing:
            return 0
        self.flushing = True
        self.flush_scheduled = False
        dirty, self.dirty = self.dirty, []
        try:
            for connection in dirty:
                connection.write_out()
        finally:
            self.flushing = False
        return 0

    def goaway(self):
        """Take no new streams; each connection closes when its last stream has ended."""
        cdef Connection connection
        for connection in list(self.connections):
            if connection.session == NULL:
                connection.transport.close()
                continue
            nghttp2_submit_goaway(
                connection.session, NGHTTP2_FLAG_NONE,
                nghttp2_session_get_last_proc_stream_id(connection.session),
                NGHTTP2_NO_ERROR, NULL, 0)
            connection.mark_dirty()

    def close(self, str text="etcdserver: server stopped"):
        """End every stream with Unavailable, say GOAWAY and close; refuse what still connects."""
        cdef Connection connection
        self.closing = True
        if self.sweep_timer is not None:
            self.sweep_timer.cancel()
        for connection in list(self.connections):
            connection.end_streams(UNAVAILABLE, text)
            if connection.session != NULL:
                nghttp2_submit_goaway(
                    connection.session, NGHTTP2_FLAG_NONE,
                    nghttp2_session_get_last_proc_stream_id(connection.session),
                    NGHTTP2_NO_ERROR, NULL, 0)
                connection.write_out()
            connection.transport.close()
        if self.connections:
            self.loop.call_later(self.limits.close_grace_s, self._abort)

    def _sweep(self):
        """Ping clients that are silent, drop those that do not answer, and, where connections run
        short, send away those that have long asked nothing."""
        cdef Connection connection
        cdef double now = self.loop.time()
        limits = self.limits
        cdef double ask_after_s = limits.ping_client_after_s or NEVER_S
        cdef double idle_s = NEVER_S
        if len(self.connections) * 10 >= limits.connections_max * 9:
            idle_s = limits.idle_when_full_s
        for connection in list(self.connections):
            connection.check_alive(now, ask_after_s, limits.ping_answer_s, idle_s)
        period = min(ask_after_s, limits.ping_answer_s, limits.idle_when_full_s) / 2
        self.sweep_timer = self.loop.call_later(max(SWEEP_S_MIN, period), self._sweep)

    def _abort(self):
        """Drop the connections whose clients have not read their end."""
        cdef Connection connection
        for connection in list(self.connections):
            connection.transport.abort()


cdef class Connection(Http2Session):
    """One accepted socket. HTTP/1 is handed over to the factory's protocol with its first bytes."""

    def __cinit__(self, Server server):
        global live_connections
        live_connections += 1
        self.server = server
        limits = server.limits
        self.out = &server.out
        self.totals = &server.totals
        self.methods = server.methods
        self.http_handler = server.http_handler
        self.http_open = server.http_open
        self.request_bytes_max = limits.request_bytes_max
        self.header_bytes_max = limits.header_list_bytes_max
        self.partial_bytes_max = limits.partial_bytes_max
        self.queued_bytes_max = limits.queued_bytes_max
        self.drain_low_water_bytes = limits.drain_low_water_bytes
        self.drained = []
        self.undecided = b""
        self.peer_common_name = ""
        self.last_ping_s = -1e9
        self.connection_id = server.connections_made
        server.connections_made += 1

    def __dealloc__(self):
        global live_connections
        live_connections -= 1
        if self.session != NULL:
            nghttp2_session_del(self.session)

    # asyncio.BufferedProtocol

    def connection_made(self, transport):
        server = self.server
        self.transport = transport
        self.peer_address = transport.get_extra_info("peername")
        self.is_secure = transport.get_extra_info("ssl_object") is not None
        self.peer_common_name = common_name(transport.get_extra_info("peercert"))
        if server.closing or len(server.connections) >= server.limits.connections_max:
            transport.abort()
            return
        if server.loop is None:
            server.loop = asyncio.get_running_loop()
            server._sweep()
        server.connections.add(self)
        transport.set_write_buffer_limits(high=server.limits.write_buffer_bytes)
        socket = transport.get_extra_info("socket")
        keep_alive(socket)
        self.preface_timer = server.loop.call_later(
            server.limits.preface_timeout_s, transport.close)

    def get_buffer(self, sizehint):
        return self.server.read_buffer

    def buffer_updated(self, Py_ssize_t length):
        if not 0 <= length <= READ_BYTES:
            raise ValueError("more bytes than the buffer has")
        self.server.received_bytes += length
        if self.session == NULL:
            if self.transport.is_closing():
                return
            self.first_bytes(self.undecided + self.read_bytes(length))
        else:
            self.receive(self.server.read_data, length)

    def eof_received(self):
        return False

    def pause_writing(self):
        self.paused = True

    def resume_writing(self):
        self.paused = False
        self.mark_dirty()

    def connection_lost(self, error):
        self.end_session()
        self.transport = None

    # The rest.

    cdef bytes read_bytes(self, Py_ssize_t length):
        return PyBytes_FromStringAndSize(<char *>self.server.read_data, length)

    cdef int first_bytes(self, bytes data) except -1:
        """Decide which HTTP this is, once enough bytes are there to tell."""
        cdef Py_ssize_t known = min(PyBytes_GET_SIZE(data), PREFACE_BYTES)
        if memcmp(PyBytes_AS_STRING(data), PyBytes_AS_STRING(PREFACE), known) != 0:
            return self.hand_over(data)
        if known < PREFACE_DECIDED_BYTES:
            self.undecided = data
            return 0
        self.undecided = b""
        self.begin_session()
        return self.receive(<const uint8_t *>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))

    cdef int hand_over(self, bytes data) except -1:
        """Give the transport to the HTTP/1 protocol and forget it."""
        transport = self.transport
        self.end_session()
        protocol = self.server.http1_factory()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(data)
        return 0

    cdef int begin_session(self) except -1:
        cdef nghttp2_settings_entry[5] settings
        limits = self.server.limits
        if nghttp2_session_server_new2(
                &self.session, self.server.callbacks, <void *>self,
                self.server.option):
            raise MemoryError
        settings[0].settings_id = NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS
        settings[0].value = limits.concurrent_streams_max
        settings[1].settings_id = NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE
        settings[1].value = limits.stream_window_bytes
        settings[2].settings_id = NGHTTP2_SETTINGS_MAX_FRAME_SIZE
        settings[2].value = FRAME_BYTES_MAX
        settings[3].settings_id = NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE
        settings[3].value = limits.header_list_bytes_max
        settings[4].settings_id = NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES
        settings[4].value = 1
        if nghttp2_submit_settings(self.session, NGHTTP2_FLAG_NONE, settings, 5):
            raise ValueError("nghttp2 refuses the settings made of the limits")
        nghttp2_session_set_local_window_size(
            self.session, NGHTTP2_FLAG_NONE, 0, limits.connection_window_bytes)
        return 0

    cdef int receive(self, const uint8_t *data, Py_ssize_t length) except -1:
        """Parse one read and answer it."""
        cdef ssize_t taken
        if self.preface_timer is not None:
            self.preface_timer.cancel()
            self.preface_timer = None
        self.last_read_s = self.server.loop.time()
        self.receiving = True
        taken = nghttp2_session_mem_recv(self.session, data, length)
        self.receiving = False
        if taken < 0:
            log.debug("connection refused", extra={
                "reason": nghttp2_strerror(<int>taken).decode(), "peer": self.peer_address})
            nghttp2_session_terminate_session(self.session, NGHTTP2_NO_ERROR)
            self.write_out()
            if self.transport is not None:
                self.transport.close()
        elif self.paused and self.frames_owed() > self.server.limits.frames_owed_max:
            self.transport.abort()
        elif self.dirty or nghttp2_session_want_write(self.session) \
                or not nghttp2_session_want_read(self.session):
            if self.server.flushing:
                self.server.enqueue(self)
            else:
                self.write_out()
        if self.escaped is not None:
            escaped, self.escaped = self.escaped, None
            raise escaped
        return 0

    cdef Py_ssize_t frames_owed(self) noexcept:
        """Frames that wait, without what open streams may have waiting: headers and their end."""
        cdef size_t waiting = nghttp2_session_get_outbound_queue_size(self.session)
        return <Py_ssize_t>waiting - 2 * self.stream_count

    cdef int mark_dirty(self) except -1:
        if self.dirty or self.session == NULL:
            return 0
        self.dirty = True
        if not self.receiving:
            self.server.enqueue(self)
        return 0

    cdef int write_out(self) except -1:
        """Pull frames and write them until there are none or the transport has enough."""
        cdef const uint8_t *frame
        cdef ssize_t size
        self.dirty = False
        if self.session == NULL or self.receiving:
            return 0
        while not self.paused:
            self.out.length = 0
            while self.out.length < WRITE_BYTES:
                size = nghttp2_session_mem_send(self.session, &frame)
                if size < 0:
                    log.error("connection aborted", extra={
                        "reason": nghttp2_strerror(<int>size).decode()})
                    self.transport.abort()
                    return 0
                if size == 0:
                    break
                out_append(self.out, frame, size)
            if self.out.length == 0:
                break
            full = self.out.length >= WRITE_BYTES
            self.server.sent_bytes += self.out.length
            self.transport.write(PyBytes_FromStringAndSize(<char *>self.out.data, self.out.length))
            if not full:
                break
        if self.drained:
            self.call_drained()
        if (self.sent_away and not self.paused) or (
                not nghttp2_session_want_read(self.session)
                and not nghttp2_session_want_write(self.session)):
            self.transport.close()
        return 0

    cdef int call_drained(self) except -1:
        cdef CStream stream
        drained, self.drained = self.drained, []
        for stream in drained:
            if stream.closed or stream.on_drained is None:
                continue
            try:
                stream.on_drained()
            except Exception as error:
                self.handler_failed(stream, error)
        return 0

    cdef int ping_received(self) except -1:
        """Count pings that come faster than allowed (grpc-go keepalive enforcement)."""
        cdef double now = self.server.loop.time()
        limits = self.server.limits
        if now - self.last_ping_s < limits.ping_interval_min_s:
            self.ping_strikes += 1
        self.last_ping_s = now
        if self.ping_strikes > limits.ping_strikes_max:
            nghttp2_submit_goaway(
                self.session, NGHTTP2_FLAG_NONE,
                nghttp2_session_get_last_proc_stream_id(self.session),
                NGHTTP2_ENHANCE_YOUR_CALM, <const uint8_t *>"too_many_pings", 14)
            self.end_streams(UNAVAILABLE, "too_many_pings")
            self.sent_away = True
            self.mark_dirty()
        return 0

    cdef int check_alive(
        self, double now, double ask_after_s, double answer_s, double idle_s
    ) except -1:
        """Ask a client that has been silent whether it is there; drop it if it does not say.

        One that has no stream and was silent for `idle_s` is sent away.
        """
        if self.session == NULL:
            return 0
        if self.first_stream == NULL and now - self.last_read_s >= idle_s:
            nghttp2_session_terminate_session(self.session, NGHTTP2_NO_ERROR)
            self.sent_away = True
            return self.mark_dirty()
        if self.asked_s and self.last_read_s < self.asked_s:
            if now - self.asked_s >= answer_s:
                log.info("client does not answer", extra={"peer": self.peer_address})
                self.transport.abort()
            return 0
        self.asked_s = 0
        if now - self.last_read_s >= ask_after_s:
            self.asked_s = now
            nghttp2_submit_ping(self.session, NGHTTP2_FLAG_NONE, NULL)
            self.mark_dirty()
        return 0

    cdef int end_streams(self, int code, str text) except -1:
        """Finish every open stream with an error."""
        cdef void *following = self.first_stream
        cdef CStream stream
        while following != NULL:
            stream = <CStream>following
            following = stream.next_stream
            stream.finish(code, text)
        return 0

    cdef int end_session(self) except -1:
        """Leave the server; tell every open stream; free the session. Harmless twice."""
        self.server.connections.discard(self)
        if self.preface_timer is not None:
            self.preface_timer.cancel()
            self.preface_timer = None
        self.drained = []
        while self.first_stream != NULL:
            (<CStream>self.first_stream).detach()
        if self.session != NULL:
            nghttp2_session_del(self.session)
            self.session = NULL
        return 0


cdef nghttp2_option *session_option(limits) except NULL:
    """Make the options of the sessions; the caller frees them."""
    cdef nghttp2_option *option
    if nghttp2_option_new(&option):
        raise MemoryError
    # :authority may be a URL (etcdctl 3.4) or a path (Unix sockets), which nghttp2 would refuse;
    # a request without its :path or :method finds no handler anyway.
    nghttp2_option_set_no_http_messaging(option, 1)
    nghttp2_option_set_no_closed_streams(option, 1)
    nghttp2_option_set_stream_reset_rate_limit(option, limits.resets_burst, limits.resets_per_s)
    return option


class ServerProtocol(Connection, asyncio.BufferedProtocol):
    """The connection under the type that asyncio looks for."""

    __slots__ = ()


cdef inline CStream stream_of(nghttp2_session *session, int32_t stream_id):
    cdef void *found = nghttp2_session_get_stream_user_data(session, stream_id)
    return None if found == NULL else <CStream>found


cdef int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame,
                          void *user_data) noexcept:
    cdef Connection connection = <Connection>user_data
    cdef CStream stream
    if frame.headers.cat != NGHTTP2_HCAT_REQUEST:
        return 0
    if connection.stream_count >= FAIR_STREAMS \
            and connection.totals.streams >= connection.totals.streams_max:
        nghttp2_submit_rst_stream(
            session, NGHTTP2_FLAG_NONE, frame.hd.stream_id, NGHTTP2_REFUSED_STREAM)
        return 0
    try:
        stream = CStream.__new__(CStream)
        stream.connection = connection
        stream.stream_id = frame.hd.stream_id
        stream.attach()
        nghttp2_session_set_stream_user_data(session, frame.hd.stream_id, <void *>stream)
    except BaseException as error:
        connection.escaped = error
        return NGHTTP2_ERR_CALLBACK_FAILURE
    return 0


cdef int on_header(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name,
                   nghttp2_rcbuf *value, uint8_t flags, void *user_data) noexcept:
    cdef CStream stream
    if frame.headers.cat != NGHTTP2_HCAT_REQUEST:
        return 0                                   # trailers say nothing that gRPC requests use
    stream = stream_of(session, frame.hd.stream_id)
    if stream is None:
        return 0
    try:
        stream.keep_header(name, value)
    except BaseException as error:
        stream.connection.escaped = error
        return NGHTTP2_ERR_CALLBACK_FAILURE
    return 0


cdef int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t stream_id,
                       const uint8_t *data, size_t length, void *user_data) noexcept:
    cdef CStream stream = stream_of(session, stream_id)
    if stream is None:
        return 0
    try:
        stream.take_data(data, length)
    except BaseException as error:
        stream.connection.escaped = error
        return NGHTTP2_ERR_CALLBACK_FAILURE
    return 0


cdef int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame,
                       void *user_data) noexcept:
    cdef Connection connection = <Connection>user_data
    cdef CStream stream
    try:
        if frame.hd.type == NGHTTP2_PING:
            if not frame.hd.flags & NGHTTP2_FLAG_ACK:
                connection.ping_received()
        elif frame.hd.type == NGHTTP2_DATA or frame.hd.type == NGHTTP2_HEADERS:
            stream = stream_of(session, frame.hd.stream_id)
            if stream is None:
                return 0
            if frame.hd.type == NGHTTP2_HEADERS and frame.headers.cat == NGHTTP2_HCAT_REQUEST:
                stream.headers_complete()
            if frame.hd.flags & NGHTTP2_FLAG_END_STREAM:
                stream.request_complete()
    except BaseException as error:
        connection.escaped = error
        return NGHTTP2_ERR_CALLBACK_FAILURE
    return 0


cdef int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame,
                       void *user_data) noexcept:
    cdef CStream stream
    if frame.hd.type != NGHTTP2_HEADERS and frame.hd.type != NGHTTP2_DATA:
        return 0
    (<Connection>user_data).ping_strikes = 0
    if frame.hd.flags & NGHTTP2_FLAG_END_STREAM:
        stream = stream_of(session, frame.hd.stream_id)
        if stream is not None and not stream.half_closed:
            # The answer is complete before the request: the client need not send the rest.
            nghttp2_submit_rst_stream(
                session, NGHTTP2_FLAG_NONE, frame.hd.stream_id, NGHTTP2_NO_ERROR)
    return 0


cdef int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code,
                         void *user_data) noexcept:
    cdef CStream stream = stream_of(session, stream_id)
    if stream is None:
        return 0
    try:
        nghttp2_session_set_stream_user_data(session, stream_id, NULL)
        stream.detach()
    except BaseException as error:
        (<Connection>user_data).escaped = error
        return NGHTTP2_ERR_CALLBACK_FAILURE
    return 0


cdef ssize_t data_length(nghttp2_session *session, uint8_t frame_type, int32_t stream_id,
                         int32_t session_window, int32_t stream_window, uint32_t frame_max,
                         void *user_data) noexcept:
    """Let a DATA frame be as large as the client takes, not nghttp2's 16 KiB."""
    return max(1, min(min(session_window, stream_window), <int32_t>frame_max))


cdef int set_callbacks(nghttp2_session_callbacks *callbacks) except -1:
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers)
    nghttp2_session_callbacks_set_on_header_callback2(callbacks, on_header)
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk)
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv)
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send)
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close)
    nghttp2_session_callbacks_set_send_data_callback(callbacks, stream_send_data)
    nghttp2_session_callbacks_set_data_source_read_length_callback(callbacks, data_length)
    return 0
