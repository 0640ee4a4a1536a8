"""One HTTP request under way and the way to answer it, the same over HTTP/1.1 and HTTP/2.

The body arrives in pieces: whoever serves the request reads them all, or one after the other while
it answers already. The answer is whole (`reply`) or in pieces (`begin`, `write`, `end`).
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from urllib.parse import parse_qs, unquote, urlsplit

__all__ = ["Answer", "BadRequest", "BodyBudget", "Exchange", "Fields", "Headers", "Query"]

Query = Mapping[str, list[str]]
Headers = Mapping[str, str]
Answer = tuple[int, str, bytes]
"""Status, content type, body."""
Fields = Sequence[tuple[str, str]]
"""Further header fields of an answer."""

BODY_WAITING_BYTES_MAX = 64 << 20
"""Pieces of a body that arrived and were not read; more is 413."""


class BadRequest(Exception):
    """The bytes are no request that we take. `status` says why."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class BodyBudget:
    """What the bodies of all requests under way may take together, in bytes."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self.held_bytes = 0

    def hold(self, size: int) -> None:
        """Take room. Raises BadRequest where there is none."""
        if self.held_bytes + size > self._bytes_max:
            raise BadRequest(HTTPStatus.SERVICE_UNAVAILABLE, "too many requests at once")
        self.held_bytes += size

    def give_back(self, size: int) -> None:
        """Give room back."""
        self.held_bytes -= size


class Exchange(ABC):
    """A request with its answer; the transport makes it, and feeds it by `push...`."""

    def __init__(self, method: str, target: str, headers: Headers, *, is_secure: bool) -> None:
        """Raise BadRequest for a malformed target."""
        try:
            url = urlsplit(target)
            self.path = unquote(url.path)
            self.query: Query = parse_qs(url.query, keep_blank_values=True)
        except ValueError:
            raise BadRequest(HTTPStatus.BAD_REQUEST, "malformed target") from None
        self.method = method
        self.headers = headers
        self.is_secure = is_secure
        """Whether the request came over TLS."""
        self.peer: tuple[str, int] | str = ""
        """The socket address of the client."""
        self.connection_id = 0
        """A number of the connection's own; below zero for HTTP/1, unlike those of streams."""
        self.is_long = False
        """Whether the answer may take as long as it likes: the end of the client is its end."""
        self.answer_fields: list[tuple[str, str]] = []
        """Fields that the answer has, whatever it is."""
        self.began = False
        """Whether the answer has begun."""
        self.ended = False
        """Whether nothing more can be sent: all was, or the client has gone."""
        self.on_drained: Callable[[], object] | None = None
        """Called when the client has taken most of what was written."""
        self.budget = BodyBudget(BODY_WAITING_BYTES_MAX)
        """Shared by the requests of one table, which sets it."""
        self._held_bytes = 0
        self._pieces: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._body_complete = False
        self._body_error: BadRequest | None = None
        self._arrival: asyncio.Future[None] | None = None

    # The request's body.

    def push(self, piece: bytes) -> None:
        """Take a piece of the body from the transport."""
        if self._waiting_bytes + len(piece) > BODY_WAITING_BYTES_MAX:
            self.push_error(
                BadRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "request body too large")
            )
        elif piece:
            try:
                self._hold(len(piece))
            except BadRequest as error:
                self.push_error(error)
                return
            self._pieces.append(piece)
            self._waiting_bytes += len(piece)
            self._wake()

    def push_end(self) -> None:
        """Learn that the body is complete."""
        self._body_complete = True
        self._wake()

    def push_error(self, error: BadRequest) -> None:
        """Learn that the body is malformed; whoever reads it is told."""
        self._body_error = error
        self._wake()

    def _hold(self, size: int) -> None:
        self.budget.hold(size)
        self._held_bytes += size

    def let_go(self, size: int | None = None) -> None:
        """Give back the room of so much of the body, or of all that arrived."""
        size = self._held_bytes if size is None else min(size, self._held_bytes)
        self._held_bytes -= size
        self.budget.give_back(size)

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    @property
    def body_waiting_bytes(self) -> int:
        """Bytes that arrived and were not read."""
        return self._waiting_bytes

    async def read(self) -> bytes:
        """Return the next piece of the body, b"" at its end. Raises BadRequest."""
        while not self._pieces:
            if self._body_error is not None:
                raise self._body_error
            if self._body_complete:
                return b""
            self._arrival = asyncio.get_running_loop().create_future()
            await self._arrival
        piece = self._pieces.popleft()
        self._waiting_bytes -= len(piece)
        self.let_go(len(piece))
        self.body_read()
        return piece

    async def read_all(self, bytes_max: int) -> bytes:
        """Return the whole body. Raises BadRequest, for a larger one too."""
        announced = self.headers.get("content-length", "")
        if announced.isdigit() and int(announced) > bytes_max:
            raise BadRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "request body too large")
        pieces = []
        size = 0
        while piece := await self.read():
            size += len(piece)
            if size > bytes_max:
                raise BadRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "request body too large")
            self._hold(len(piece))
            pieces.append(piece)
        return b"".join(pieces)

    def body_read(self) -> None:  # noqa: B027  (only HTTP/1.1 holds its sender back)
        """Learn, in the transport, that there is room for more of the body."""

    # The answer.

    def reply(self, status: int, content_type: str, body: bytes, fields: Fields = ()) -> None:
        """Answer whole. Does nothing if an answer has begun or the client has gone."""
        if self.began or self.ended:
            return
        self.begin(status, content_type, fields, length=len(body))
        if self.method != "HEAD":
            self.write(body)
        self.end()

    @abstractmethod
    def begin(
        self, status: int, content_type: str, fields: Fields = (), length: int | None = None
    ) -> None:
        """Send the head of the answer; `length` is the body's, where it is known."""

    @abstractmethod
    def write(self, piece: bytes) -> None:
        """Send a piece of the body. Never waits: watch `pending_bytes`."""

    @abstractmethod
    def end(self) -> None:
        """Say that the body is complete."""

    @abstractmethod
    def abort(self) -> None:
        """Break the answer off, so that the client does not take it for complete."""

    @property
    @abstractmethod
    def pending_bytes(self) -> int:
        """Bytes written and not yet given to the socket."""

    @property
    @abstractmethod
    def drain_pending(self) -> bool:
        """Whether `on_drained` is still to be called: much is waiting to be taken."""
