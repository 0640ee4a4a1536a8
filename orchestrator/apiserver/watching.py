"""Watches: a stream of events, one JSON line each, from the watch cache to one client."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from orchestrator.api import errors
from orchestrator.api.json_object import JsonObject
from orchestrator.apiserver.listing import (
    ListOptions,
    list_objects,
    parse_count,
    parse_revision,
    wait_for_revision,
)
from orchestrator.apiserver.negotiation import Form, Output
from orchestrator.apiserver.request_context import RequestContext
from orchestrator.apiserver.request_info import truth
from orchestrator.apiserver.resource_store import ResourceStore
from orchestrator.apiserver.responses import partial, table_body
from orchestrator.apiserver.selection import Selection
from orchestrator.apiserver.stored import Stored
from orchestrator.apiserver.watch_cache import Event, Expired, Watcher, encode_line

if TYPE_CHECKING:
    from orchestrator.api.table import IncludeObject

TIMEOUT_S = 1800
"""A watch without timeoutSeconds ends after one to two times this, spread so that clients do not
return all at once."""

BOOKMARK_BEFORE_END_S = 2.0
INITIAL_EVENTS_END = "k8s.io/initial-events-end"
SEND_BATCH_BYTES_MAX = 256 * 1024

WRITE_STALL_S = 60.0
"""A client that takes nothing for this long is gone; its watch ends."""


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """The query of a watch. `revision` None or 0 begins with the objects that there are."""

    revision: int | None
    send_initial_events: bool
    bookmarks: bool
    timeout_s: float


def watch_options(query: Mapping[str, str]) -> WatchOptions:
    """Read the query; StatusError 422 for combinations that Kubernetes forbids."""
    sent = query.get("sendInitialEvents")
    match = query.get("resourceVersionMatch", "")
    fault = None
    if sent is not None and match != "NotOlderThan":
        text = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        fault = errors.field_forbidden("resourceVersionMatch", text)
    elif sent is None and match:
        text = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        fault = errors.field_forbidden("resourceVersionMatch", text)
    if fault is not None:
        raise errors.StatusError(422, "Invalid", f"ListOptions.meta.k8s.io is invalid: {fault}")
    revision = parse_revision(query.get("resourceVersion", ""))
    timeout_s = parse_count(query, "timeoutSeconds") or TIMEOUT_S * (1 + random.random())
    return WatchOptions(
        revision=revision,
        send_initial_events=truth(sent),
        bookmarks=truth(query.get("allowWatchBookmarks")),
        timeout_s=timeout_s,
    )


class WatchStream:
    """One client's watch: turns events into lines of the form that the client accepts."""

    def __init__(
        self, context: RequestContext, selection: Selection, output: Output, include: IncludeObject
    ) -> None:
        self._context = context
        self._selection = selection
        self._output = output
        self._include = include
        self._columns_sent = False

    def initial(self, stored: Stored) -> bytes:
        """The line that shows an object which was there when the watch began."""
        if self._output.form is Form.OBJECT:
            return encode_line("ADDED", stored.encoded)
        return encode_line("ADDED", self._encode(stored))

    def event(self, event: Event) -> bytes:
        """The line for a change; empty where it is outside of the selection.

        An object that begins to match the selectors is ADDED, one that ceases to is DELETED.
        """
        selection = self._selection
        is_in = event.current is not None and selection.matches(event.current)
        was_in = event.previous is not None and selection.matches(event.previous)
        if is_in:
            kind = "MODIFIED" if was_in else "ADDED"
        elif was_in:
            kind = "DELETED"
        else:
            return b""
        stored = event.current if is_in else event.last
        assert stored is not None
        if self._output.form is Form.OBJECT:
            return encode_line(kind, stored.encoded)
        return encode_line(kind, self._encode(stored))

    def bookmark(self, revision: int, *, initial_events_end: bool = False) -> bytes:
        """The line that says that the client has seen everything up to `revision`."""
        resource = self._context.resource
        metadata: JsonObject = {"resourceVersion": str(revision), "creationTimestamp": None}
        if initial_events_end:
            metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
        obj: JsonObject = {
            "kind": resource.kind,
            "apiVersion": resource.group_version,
            "metadata": metadata,
        }
        if self._output.form is Form.PARTIAL or self._output.form is Form.PARTIAL_LIST:
            obj = partial(obj, self._output.version)
        elif self._output.form is Form.TABLE:
            table = {"kind": "Table", "apiVersion": f"meta.k8s.io/{self._output.version}"}
            obj = {**table, "metadata": metadata, "columnDefinitions": None, "rows": []}
        return encode_line("BOOKMARK", orjson.dumps(obj))

    def _encode(self, stored: Stored) -> bytes:
        if self._output.form is not Form.TABLE:
            return orjson.dumps(partial(stored.object, self._output.version))
        self._context.now = datetime.now(UTC)
        columns, self._columns_sent = not self._columns_sent, True
        metadata = {"resourceVersion": str(stored.revision)}
        return table_body(
            [stored], self._context, self._output, self._include, metadata, columns=columns
        )


def error_line(error: errors.StatusError) -> bytes:
    return encode_line("ERROR", orjson.dumps(error.to_status()))


async def serve_watch(
    request: web.BaseRequest,
    store: ResourceStore,
    stream: WatchStream,
    selection: Selection,
    options: WatchOptions,
    response: web.StreamResponse,
    bookmark_interval_s: float,
) -> web.StreamResponse:
    """Answer a watch until its timeout, the client's leaving, or an overflow of its queue.

    A revision that the window no longer has is an ERROR event under HTTP 200, as clients expect.
    """
    await store.cache.ensure_started()
    initial, after = await _begin(store, selection, options)
    try:
        watcher = store.cache.watch(after, selection.wants)
    except Expired as error:
        await response.prepare(request)
        await response.write(error_line(errors.expired(str(error))))
        return response
    try:
        await response.prepare(request)
        await _write_lines(response, [stream.initial(stored) for stored in initial])
        if options.send_initial_events and options.bookmarks:
            await response.write(stream.bookmark(after, initial_events_end=True))
        await _follow(store, watcher, stream, options, response, bookmark_interval_s)
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
    finally:
        watcher.close()
    return response


async def _begin(
    store: ResourceStore, selection: Selection, options: WatchOptions
) -> tuple[list[Stored], int]:
    """Return the objects to show first, and the revision after which events follow."""
    revision = options.revision
    if revision and not options.send_initial_events:
        await wait_for_revision(store, revision)
        return [], revision
    if revision:
        await wait_for_revision(store, revision)
    any_age = revision == 0 and not options.send_initial_events
    # Without a limit: a watch begins with everything.
    listing = await list_objects(store, selection, ListOptions(0 if any_age else None, "", 0, ""))
    return listing.items, listing.revision


async def _follow(
    store: ResourceStore,
    watcher: Watcher,
    stream: WatchStream,
    options: WatchOptions,
    response: web.StreamResponse,
    bookmark_interval_s: float,
) -> None:
    """Send events, and bookmarks at intervals and once more just before the end."""
    loop = asyncio.get_running_loop()
    end = loop.time() + options.timeout_s
    last_bookmark = end - min(BOOKMARK_BEFORE_END_S, options.timeout_s / 2)
    # Spread: thousands of watches that began together shall not all bookmark together.
    next_bookmark = loop.time() + bookmark_interval_s * (0.75 + random.random() / 4)
    next_bookmark = min(next_bookmark, last_bookmark) if options.bookmarks else end + 1
    sent = watcher.after
    while not watcher.ended and (now := loop.time()) < end:
        events = await watcher.next_events(max(min(end, next_bookmark) - now, 0))
        lines = [stream.event(event) for event in events]
        if loop.time() >= next_bookmark and watcher.idle and not watcher.ended:
            sent = max(store.cache.revision, sent)
            lines.append(stream.bookmark(sent))
            due = loop.time() + bookmark_interval_s
            next_bookmark = min(due, last_bookmark) if loop.time() < last_bookmark else end + 1
        async with asyncio.timeout(WRITE_STALL_S):
            await _write_lines(response, lines)


async def _write_lines(response: web.StreamResponse, lines: list[bytes]) -> None:
    """Write lines in few pieces, so that a large start neither floods nor dribbles."""
    batch, size = list[bytes](), 0
    for line in lines:
        if not line:
            continue
        batch.append(line)
        size += len(line)
        if size >= SEND_BATCH_BYTES_MAX:
            await response.write(b"".join(batch))
            batch, size = [], 0
    if batch:
        await response.write(b"".join(batch))
