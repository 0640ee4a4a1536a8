"""One request on an HTTP/2 connection, and its answer."""

from collections.abc import Callable, Sequence

class Stream:
    """Made by the connection. Every sending method is a silent no-op that returns False once the
    stream has ended, so that late answers need no check. Answers leave at the next flush."""

    stream_id: int
    closed: bool
    pending_bytes: int
    """Queued here and not yet given to the socket, waiting for the flow-control window included."""
    on_drained: Callable[[], object] | None
    """Called after `pending_bytes` was at or above the low-water mark and has fallen below it."""
    on_closed: Callable[[], object] | None
    """Called once when the stream has ended, after a complete answer too."""
    is_post: bool

    @property
    def path(self) -> bytes: ...
    @property
    def http_method(self) -> bytes: ...
    @property
    def metadata(self) -> list[tuple[bytes, bytes]]:
        """The header fields in order, `:authority` among them; copied at each call."""
    @property
    def deadline_s(self) -> float | None: ...
    @property
    def drain_pending(self) -> bool: ...
    @property
    def peer(self) -> tuple[str, int] | str: ...
    @property
    def peer_common_name(self) -> str:
        """The common name in the client's verified TLS certificate; "" where there is none."""
    @property
    def is_secure(self) -> bool: ...
    @property
    def connection_id(self) -> int: ...
    def reply(self, message: bytes) -> bool:
        """Send the one answer of a unary method, with status OK."""
    def fail(self, code: int, text: str) -> bool:
        """End with an error; the same as `finish`."""
    def send(self, head: bytes, tail: bytes | None = None) -> bool:
        """Queue one message, the concatenation of both parts; `tail` may be shared by streams."""
    def begin_large(self, size: int) -> bool:
        """Begin a unary answer with a message of `size` bytes: `send` is given its pieces then,
        exactly so many bytes in all before `finish`. ValueError at 4 GiB."""
    def reset(self) -> bool:
        """Break off in the middle of an answer; the client sees the stream reset."""
    def finish(self, code: int = 0, text: str = "") -> bool:
        """End with a status, after what is queued."""
    def begin_http(
        self,
        status: int,
        content_type: bytes,
        headers: Sequence[tuple[bytes, bytes]] = (),
        length: int = -1,
    ) -> bool:
        """Begin to answer a request that is not gRPC; the body is what `send` is given."""
    def reply_http(
        self,
        status: int,
        content_type: bytes,
        body: bytes,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> bool:
        """Answer a request that is not gRPC, whole."""

def live_stream_objects() -> int: ...
