"""A gRPC server for asyncio: HTTP/2 (RFC 9113) as gRPC uses it.

One read from the socket is parsed whole (`http2_receiver`); handlers run inside that and answer at
once or later. What they answer stays with the streams until the connection is flushed: after its
own read, or once per turn of the loop for everything answered elsewhere. A flush gathers frames
(`http2_sender`) in one buffer and writes it once, and stops while the transport's buffer is full,
so a client that does not read costs no more than its streams' queues, which are bounded.

Nothing here is re-entrant by accident: handlers only ever submit; `receiving`, `writing` and
`flushing` keep the rest outside, and who is told of its end while frames are gathered is told
after they have been written.
"""

import asyncio
import logging
import struct

from cpython.buffer cimport Py_buffer, PyBUF_WRITABLE, PyObject_GetBuffer, PyBuffer_Release
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp

from raftkv._native.http2_frames cimport (
    ENHANCE_YOUR_CALM, INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS, MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE, NO_ERROR, NO_FLAGS, NO_RFC7540_PRIORITIES, PING, SETTINGS,
    WINDOW_AT_FIRST,
)
from raftkv._native.http2_handler import StreamHandler
from raftkv._native.http2_limits import Limits
from raftkv._native.http2_methods import MethodTable
from raftkv._native.http2_peer import common_name, keep_alive
from raftkv._native.http2_receiver cimport FRAME_BYTES_MAX, FrameReceiver
from raftkv._native.http2_sender cimport gather, has_frames, put_control, put_window_update
from raftkv._native.http2_stream import Stream, live_stream_objects
from raftkv._native.http2_stream cimport Stream as CStream
from raftkv._native.http2_wire cimport OutBuffer

__all__ = ["Limits", "MethodTable", "Server", "Stream", "StreamHandler", "live_counts"]

log = logging.getLogger("raftkv.http2")

cdef double SWEEP_S_MIN = 0.05
cdef double NEVER_S = 1e9
cdef bytes OUR_PING = bytes(8)
cdef bytes PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
cdef enum:
    READ_BYTES = 262144            # of the buffer that all connections read into
    WRITE_BYTES = 262144           # frames are gathered up to about this size per write
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

    def __dealloc__(self):
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
            if not connection.speaking:
                connection.transport.close()
                continue
            connection.say_goaway(NO_ERROR, b"")
            connection.mark_dirty()

    def close(self, str text="etcdserver: server stopped"):
        """End every stream with Unavailable, say GOAWAY and close; refuse what still connects."""
        cdef Connection connection
        self.closing = True
        if self.sweep_timer is not None:
            self.sweep_timer.cancel()
        for connection in list(self.connections):
            connection.end_streams(UNAVAILABLE, text)
            if connection.speaking:
                connection.say_goaway(NO_ERROR, b"")
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


cdef class Connection(FrameReceiver):
    """One accepted socket. HTTP/1 is handed over to the factory's protocol with its first bytes."""

    def __cinit__(self, Server server):
        global live_connections
        live_connections += 1
        self.server = server
        limits = server.limits
        self.totals = &server.totals
        self.methods = server.methods
        self.http_handler = server.http_handler
        self.http_open = server.http_open
        self.request_bytes_max = limits.request_bytes_max
        self.header_bytes_max = limits.header_list_bytes_max
        self.partial_bytes_max = limits.partial_bytes_max
        self.queued_bytes_max = limits.queued_bytes_max
        self.drain_low_water_bytes = limits.drain_low_water_bytes
        self.connection_window = max(WINDOW_AT_FIRST, <long long>limits.connection_window_bytes)
        self.stream_window = limits.stream_window_bytes
        self.streams_max = limits.concurrent_streams_max
        self.resets_left = self.resets_burst = limits.resets_burst
        self.resets_per_s = limits.resets_per_s
        self.drained = []
        self.ended = []
        self.undecided = b""
        self.peer_common_name = ""
        self.last_ping_s = -1e9
        self.connection_id = server.connections_made
        server.connections_made += 1

    def __dealloc__(self):
        global live_connections
        live_connections -= 1

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
        if not self.speaking:
            if self.transport.is_closing():
                return
            self.first_bytes(self.undecided + self.read_bytes(length))
        elif self.server.on_read_begin is None:
            self.receive(self.server.read_data, length)
        else:
            self.server.on_read_begin()
            try:
                self.receive(self.server.read_data, length)
            finally:
                self.server.on_read_end()

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
        """Decide which HTTP this is: the whole preface, or bytes that are no part of it."""
        cdef Py_ssize_t length = PyBytes_GET_SIZE(data)
        cdef Py_ssize_t known = min(length, PREFACE_BYTES)
        if memcmp(PyBytes_AS_STRING(data), PyBytes_AS_STRING(PREFACE), known) != 0:
            return self.hand_over(data)
        if known < PREFACE_BYTES:
            self.undecided = data
            return 0
        self.undecided = b""
        self.begin_session()
        return self.receive(
            <const uint8_t *>PyBytes_AS_STRING(data) + PREFACE_BYTES, length - PREFACE_BYTES)

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
        limits = self.server.limits
        payload = struct.pack(
            ">HIHIHIHIHI",
            MAX_CONCURRENT_STREAMS, limits.concurrent_streams_max,
            INITIAL_WINDOW_SIZE, limits.stream_window_bytes,
            MAX_FRAME_SIZE, FRAME_BYTES_MAX,
            MAX_HEADER_LIST_SIZE, limits.header_list_bytes_max,
            NO_RFC7540_PRIORITIES, 1)
        self.begin_receiving()
        put_control(self, SETTINGS, NO_FLAGS, 0, <const uint8_t *>PyBytes_AS_STRING(payload),
                    <uint32_t>PyBytes_GET_SIZE(payload))
        if self.connection_window > WINDOW_AT_FIRST:
            put_window_update(self, 0, <uint32_t>(self.connection_window - WINDOW_AT_FIRST))
        return self.mark_dirty()

    cdef int receive(self, const uint8_t *data, Py_ssize_t length) except -1:
        """Parse one read and answer it."""
        cdef int code
        if self.preface_timer is not None:
            self.preface_timer.cancel()
            self.preface_timer = None
        self.last_read_s = self.received_s = self.server.loop.time()
        self.receiving = True
        try:
            code = self.parse(data, length)
        finally:
            self.receiving = False
        if code:
            log.debug("connection refused", extra={"code": code, "peer": self.peer_address})
            self.terminate(code)
            self.write_out()
            if self.transport is not None:
                self.transport.close()
        elif self.paused and self.control_frames > self.server.limits.frames_owed_max:
            self.transport.abort()
        elif self.dirty or self.control.length or self.is_over():
            if self.server.flushing:
                self.server.enqueue(self)
            else:
                self.write_out()
        if self.escaped is not None:
            escaped, self.escaped = self.escaped, None
            raise escaped
        return 0

    cdef bint is_over(self) noexcept:
        """Whether nothing more is expected of the client, nor owed to it beside what waits."""
        return self.terminated or (
            (self.going_away or self.client_going_away) and self.stream_count == 0)

    cdef int terminate(self, int code) except -1:
        """Read nothing any more; the connection is closed when what waits has been written."""
        if not self.terminated:
            self.terminated = True
            self.say_goaway(code, b"")
        return 0

    cdef int mark_dirty(self) except -1:
        if self.dirty or not self.speaking:
            return 0
        self.dirty = True
        if not self.receiving:
            self.server.enqueue(self)
        return 0

    cdef int write_out(self) except -1:
        """Write frames until there are none or the transport has enough; then tell of it."""
        self.dirty = False
        if not self.speaking or self.receiving:
            return 0
        if self.server.writing:
            return self.mark_dirty()
        self.server.writing = True
        try:
            self.write_frames()
        finally:
            self.server.writing = False
        if self.ended:
            self.call_ended()
        if self.drained:
            self.call_drained()
        if (self.sent_away and not self.paused) or (self.is_over() and not has_frames(self)):
            self.transport.close()
        return 0

    cdef int write_frames(self) except -1:
        cdef OutBuffer *out = &self.server.out
        cdef bint full = True
        while full and not self.paused:
            out.length = 0
            gather(self, out, WRITE_BYTES)
            if out.length == 0:
                break
            full = out.length >= WRITE_BYTES
            self.server.sent_bytes += out.length
            self.transport.write(PyBytes_FromStringAndSize(<char *>out.data, out.length))
        return 0

    cdef int call_ended(self) except -1:
        cdef CStream stream
        ended, self.ended = self.ended, []
        for stream in ended:
            stream.tell_closed()
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
        if self.ping_strikes > limits.ping_strikes_max and not self.sent_away:
            self.say_goaway(ENHANCE_YOUR_CALM, b"too_many_pings")
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
        if not self.speaking:
            return 0
        if self.first_stream == NULL and now - self.last_read_s >= idle_s:
            self.terminate(NO_ERROR)
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
            put_control(self, PING, NO_FLAGS, 0, <const uint8_t *>PyBytes_AS_STRING(OUR_PING), 8)
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
        cdef CStream stream
        self.drained = []
        while self.first_stream != NULL:
            (<CStream>self.first_stream).detach()
        ended, self.ended = self.ended, []
        for stream in ended:
            stream.tell_closed()
        self.end_receiving()
        return 0


class ServerProtocol(Connection, asyncio.BufferedProtocol):
    """The connection under the type that asyncio looks for."""

    __slots__ = ()
