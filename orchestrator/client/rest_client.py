"""The API server's verbs as coroutines."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Literal, Self

import aiohttp
import orjson

from orchestrator.api.errors import StatusError
from orchestrator.api.json_object import JsonObject
from orchestrator.api.resource import Resource
from orchestrator.client.config import ClientConfig
from orchestrator.client.errors import ServerUnreachableError, WatchLineTooLongError

JSON_PATCH: Final = "application/json-patch+json"
MERGE_PATCH: Final = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH: Final = "application/strategic-merge-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"

REQUEST_CONNECTIONS_MAX: Final = 16
"""Connections for requests, kept and shared; more requests than that wait for their turn. A burst
of hundreds would otherwise pay for hundreds of TLS handshakes, and answer no sooner."""
STREAM_CONNECTIONS_MAX: Final = 256
"""Connections for watches; each holds one for as long as it lasts."""
KEEP_ALIVE_S: Final = 60.0
REQUEST_TIMEOUT_S: Final = 34.0
"""For everything but watches; the API server bounds a mutation by the same time."""
WATCH_LINE_BYTES_MAX: Final = 8 << 20
"""An object is at most 3 MiB as a request; events repeat it with managedFields and escapes."""
RETRIES_MAX: Final = 5
"""Repeats of one request that the server answered with 429 or 503 and Retry-After."""
_REQUEST_TIMEOUT: Final = aiohttp.ClientTimeout(
    # Not `total`, which would count the wait for a connection in a burst.
    total=None,
    sock_connect=REQUEST_TIMEOUT_S,
    sock_read=REQUEST_TIMEOUT_S,
)

WatchEventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
Query = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One line of a watch. An ERROR line is raised as StatusError instead."""

    type: WatchEventType
    object: JsonObject


class RestClient:
    """A client of one API server over a pool of kept connections.

    Every answer that is not a success raises StatusError with the server's code, reason and
    message; no answer raises ServerUnreachableError. Close it, or use it as a context manager.
    """

    def __init__(self, config: ClientConfig) -> None:
        self.config = config
        self._tls: ssl.SSLContext | None = None
        self._sessions: dict[int, aiohttp.ClientSession] = {}
        """By their greatest number of connections: one for requests, one for streams."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections; running watches end with ServerUnreachableError."""
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            await session.close()

    async def get(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        subresource: str = "",
        resource_version: str | None = None,
    ) -> JsonObject:
        """Read one object."""
        path = resource.path(namespace, name, subresource)
        return await self.request("GET", path, {"resourceVersion": resource_version})

    async def list(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        limit: int | None = None,
        continue_token: str | None = None,
        resource_version: str | None = None,
        resource_version_match: str | None = None,
    ) -> JsonObject:
        """Read one page (without `limit`, everything) of the list object.

        An empty `namespace` reads all. Items may lack kind and apiVersion: the list has them.
        """
        query = {
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
            "limit": None if limit is None else str(limit),
            "continue": continue_token,
            "resourceVersion": resource_version,
            "resourceVersionMatch": resource_version_match,
        }
        return await self.request("GET", resource.path(namespace), query)

    async def create(
        self,
        resource: Resource,
        namespace: str,
        obj: JsonObject,
        *,
        name: str = "",
        subresource: str = "",
        dry_run: bool = False,
    ) -> JsonObject:
        """Create an object, or with `name` and `subresource` post to its subresource."""
        path = resource.path(namespace, name, subresource)
        return await self.request("POST", path, {"dryRun": "All" if dry_run else None}, obj)

    async def update(
        self, resource: Resource, obj: JsonObject, *, subresource: str = ""
    ) -> JsonObject:
        """Replace the object; raises StatusError 409 if its resourceVersion is not the latest."""
        metadata = obj["metadata"]
        path = resource.path(metadata.get("namespace", ""), metadata["name"], subresource)
        return await self.request("PUT", path, {}, obj)

    async def update_status(self, resource: Resource, obj: JsonObject) -> JsonObject:
        """Replace the object's status, and nothing else of it."""
        return await self.update(resource, obj, subresource="status")

    async def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        patch: Any,
        content_type: str = MERGE_PATCH,
        *,
        subresource: str = "",
        field_manager: str | None = None,
        force: bool = False,
    ) -> JsonObject:
        """Change one object by a patch of one of the four content types above."""
        query = {"fieldManager": field_manager, "force": "true" if force else None}
        path = resource.path(namespace, name, subresource)
        return await self.request("PATCH", path, query, patch, content_type)

    async def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        grace_period_s: int | None = None,
        propagation_policy: str | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
    ) -> JsonObject:
        """Delete one object; `uid` and `resource_version` are preconditions (409 where unmet).

        Returns the object where it stays for a while, a Status where it is gone.
        """
        options = _delete_options(grace_period_s, propagation_policy, uid, resource_version)
        return await self.request("DELETE", resource.path(namespace, name), {}, options)

    async def delete_collection(
        self,
        resource: Resource,
        namespace: str,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        grace_period_s: int | None = None,
        propagation_policy: str | None = None,
    ) -> JsonObject:
        """Delete all objects of a namespace that the selectors match."""
        query = {"labelSelector": label_selector, "fieldSelector": field_selector}
        options = _delete_options(grace_period_s, propagation_policy, None, None)
        path = resource.path(namespace)
        return await self.request("DELETE", path, query, options)

    async def watch(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        resource_version: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        allow_bookmarks: bool = True,
        timeout_s: int | None = None,
    ) -> AsyncIterator[WatchEvent]:
        """Yield the events after `resource_version` until the server ends the stream.

        Raises StatusError where the server refuses or sends an ERROR event (410 when the version
        is compacted), ServerUnreachableError when the connection breaks.
        """
        query = {
            "watch": "true",
            "resourceVersion": resource_version,
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
            "allowWatchBookmarks": "true" if allow_bookmarks else None,
            "timeoutSeconds": None if timeout_s is None else str(timeout_s),
        }
        path = resource.path(namespace)
        # A connection whose other end vanished says nothing: give up on it some time.
        total_s = None if timeout_s is None else timeout_s + REQUEST_TIMEOUT_S
        async for line in self.stream_lines("GET", path, query, total_s):
            decoded = orjson.loads(line)
            if decoded["type"] == "ERROR":
                raise StatusError.from_status(decoded["object"])
            yield WatchEvent(decoded["type"], decoded["object"])

    async def request(
        self,
        method: str,
        path: str,
        query: Query,
        body: Any = None,
        content_type: str = "application/json",
    ) -> JsonObject:
        """Send one request and return its JSON answer; the general form of the verbs above.

        A 429 or 503 that names a Retry-After is repeated, `RETRIES_MAX` times at most.
        """
        data = None if body is None else orjson.dumps(body)
        headers = {} if data is None else {"Content-Type": content_type}
        attempt = 0
        while True:
            try:
                async with self._session(REQUEST_CONNECTIONS_MAX).request(
                    method,
                    self.config.server + path,
                    params=_present(query),
                    data=data,
                    headers=headers,
                    timeout=_REQUEST_TIMEOUT,
                ) as response:
                    raw = await response.read()
                    retry_after_s = _retry_after_s(response)
            except (aiohttp.ClientError, TimeoutError, OSError) as exc:
                raise self._unreachable(exc) from exc
            if response.status < 400:
                return _decoded(raw, response.status)
            if retry_after_s is None or attempt == RETRIES_MAX:
                raise _error_from(raw, response.status)
            attempt += 1
            await asyncio.sleep(retry_after_s)

    async def stream_lines(
        self, method: str, path: str, query: Query, total_s: float | None = None
    ) -> AsyncIterator[bytes]:
        """Yield the lines of an answer as they come, without their line ends.

        `total_s` bounds the whole stream; without it, it lasts as long as the server likes.
        """
        try:
            async with self._session(STREAM_CONNECTIONS_MAX).request(
                method,
                self.config.server + path,
                params=_present(query),
                timeout=aiohttp.ClientTimeout(total=total_s, sock_connect=REQUEST_TIMEOUT_S),
            ) as response:
                if response.status >= 400:
                    raise _error_from(await response.read(), response.status)
                buffer = bytearray()
                async for chunk in response.content.iter_any():
                    buffer += chunk
                    if b"\n" not in chunk:
                        if len(buffer) > WATCH_LINE_BYTES_MAX:
                            raise WatchLineTooLongError(path)
                        continue
                    *lines, rest = bytes(buffer).split(b"\n")
                    buffer[:] = rest
                    for line in lines:
                        if line:
                            yield line
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise self._unreachable(exc) from exc

    def _unreachable(self, exc: Exception) -> ServerUnreachableError:
        return ServerUnreachableError(self.config.server, str(exc) or type(exc).__name__)

    def _session(self, connections_max: int) -> aiohttp.ClientSession:
        """Sessions are made at their first request: they belong to the loop that runs then."""
        session = self._sessions.get(connections_max)
        if session is None:
            headers = {"User-Agent": self.config.user_agent, "Accept": "application/json"}
            if self.config.token is not None:
                headers["Authorization"] = f"Bearer {self.config.token}"
            if self._tls is None:
                self._tls = self.config.ssl_context()
            connector = aiohttp.TCPConnector(
                limit=connections_max,
                keepalive_timeout=KEEP_ALIVE_S,
                ssl=True if self._tls is None else self._tls,
            )
            session = aiohttp.ClientSession(connector=connector, headers=headers)
            self._sessions[connections_max] = session
        return session


def _error_from(raw: bytes, code: int) -> StatusError:
    try:
        status = orjson.loads(raw)
    except orjson.JSONDecodeError:
        status = None
    if isinstance(status, dict) and status.get("kind") == "Status":
        return StatusError.from_status(status, code)
    return StatusError(
        code, "", raw.decode(errors="replace").strip() or f"HTTP status {code}", None
    )


def _decoded(raw: bytes, code: int) -> JsonObject:
    try:
        decoded = orjson.loads(raw)
    except orjson.JSONDecodeError as exc:
        raise StatusError(code, "InternalError", f"the answer is not JSON: {exc}", None) from exc
    if not isinstance(decoded, dict):
        raise StatusError(code, "InternalError", "the answer is not a JSON object", None)
    return decoded


def _retry_after_s(response: aiohttp.ClientResponse) -> float | None:
    if response.status not in (429, 503):
        return None
    value = response.headers.get("Retry-After", "")
    return min(float(value), 10.0) if value.isdigit() else None


def _present(query: Query) -> dict[str, str]:
    return {name: value for name, value in query.items() if value is not None}


def _delete_options(
    grace_period_s: int | None,
    propagation_policy: str | None,
    uid: str | None,
    resource_version: str | None,
) -> JsonObject:
    options: JsonObject = {"apiVersion": "v1", "kind": "DeleteOptions"}
    if grace_period_s is not None:
        options["gracePeriodSeconds"] = grace_period_s
    if propagation_policy is not None:
        options["propagationPolicy"] = propagation_policy
    preconditions = {"uid": uid, "resourceVersion": resource_version}
    if present := _present(preconditions):
        options["preconditions"] = present
    return options
