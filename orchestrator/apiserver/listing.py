"""Lists: consistent ones from the store, any-age ones from the watch cache, and pages."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.api import errors
from orchestrator.api.json_object import JsonObject
from orchestrator.apiserver import continue_token
from orchestrator.apiserver.resource_store import ResourceStore
from orchestrator.apiserver.selection import Selection
from orchestrator.apiserver.stored import Stored
from raftkv.client import CompactedError, FutureRevisionError

TOO_LARGE_WAIT_S = 3.0
"""How long a request waits for a revision that the store has not reached."""

FILTERED_PAGE_ITEMS = 500
"""Objects read at a time for a page whose selectors may drop most of them."""

EXPIRED_CONTINUE = (
    "The provided continue parameter is too old to display a consistent list result. You can "
    "start a new list without the continue parameter, or use the continue token in this response "
    "to retrieve the remainder of the results. Continuing with the provided token results in an "
    "inconsistent list - objects that were created, modified, or deleted between the time the "
    "first chunk was returned and now may show up in the list."
)


@dataclass(frozen=True, slots=True)
class Listing:
    """Selected objects in key order, and what a client needs to go on."""

    items: list[Stored]
    revision: int
    continue_token: str = ""
    remaining: int | None = None

    @property
    def metadata(self) -> JsonObject:
        """The list's ListMeta."""
        metadata: JsonObject = {"resourceVersion": str(self.revision)}
        if self.continue_token:
            metadata["continue"] = self.continue_token
        if self.remaining:
            metadata["remainingItemCount"] = self.remaining
        return metadata


@dataclass(frozen=True, slots=True)
class ListOptions:
    """The query of a list. `revision` is None when unset; 0 means any age will do."""

    revision: int | None
    match: str
    limit: int
    token: str


def list_options(query: Mapping[str, str]) -> ListOptions:
    """Read resourceVersion, resourceVersionMatch, limit and continue; StatusError where wrong."""
    sent, match = query.get("resourceVersion", ""), query.get("resourceVersionMatch", "")
    token = query.get("continue", "")
    if match and match not in ("Exact", "NotOlderThan"):
        fault = errors.not_supported("resourceVersionMatch", match, ("Exact", "NotOlderThan"))
        raise errors.StatusError(422, "Invalid", f"ListOptions.meta.k8s.io is invalid: {fault}")
    if match and not sent:
        text = "resourceVersionMatch is forbidden unless resourceVersion is provided"
        fault = errors.field_forbidden("resourceVersionMatch", text)
        raise errors.StatusError(422, "Invalid", f"ListOptions.meta.k8s.io is invalid: {fault}")
    if match == "Exact" and sent == "0":
        text = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        fault = errors.field_forbidden("resourceVersionMatch", text)
        raise errors.StatusError(422, "Invalid", f"ListOptions.meta.k8s.io is invalid: {fault}")
    if token and sent not in ("", "0"):
        raise errors.bad_request("specifying resource version is not allowed when using continue")
    return ListOptions(parse_revision(sent), match, parse_count(query, "limit"), token)


def parse_revision(text: str) -> int | None:
    """Read a resourceVersion; None where it is empty, StatusError 400 where it is no number."""
    if not text:
        return None
    if not text.isdigit():
        raise errors.bad_request(f"invalid resource version: {errors.quote(text)}")
    return int(text)


def parse_count(query: Mapping[str, str], name: str) -> int:
    """Read a number of the query; 0 where it is absent, StatusError 400 where it is none."""
    text = query.get(name, "")
    if not text:
        return 0
    if not text.lstrip("-").isdigit():
        raise errors.bad_request(f"invalid {name}: {errors.quote(text)}")
    return max(int(text), 0)


async def list_objects(store: ResourceStore, selection: Selection, options: ListOptions) -> Listing:
    """List what `selection` names, by the rules of resourceVersion and resourceVersionMatch."""
    await store.cache.ensure_started()
    if options.token:
        return await _next_page(store, selection, options)
    revision = options.revision
    if revision == 0 and not options.limit:
        items = [item for item in _cached(store, selection) if selection.matches(item)]
        return Listing(items, store.cache.revision)
    if revision:
        await wait_for_revision(store, revision)
    exact = revision if revision and options.match == "Exact" else 0
    if revision and options.limit and not options.match:
        exact = revision  # legacy: a limit with a revision asks for exactly that one
    try:
        return await _page(store, selection, b"", exact, options.limit)
    except CompactedError as error:
        raise errors.expired("The resourceVersion for the provided list is too old.") from error


async def wait_for_revision(store: ResourceStore, revision: int) -> None:
    """Wait until the store has reached `revision`; 504 after TOO_LARGE_WAIT_S."""
    storage = store.storage
    loop = asyncio.get_running_loop()
    deadline = loop.time() + TOO_LARGE_WAIT_S
    while storage.clock.latest < revision and await storage.current_revision() < revision:
        if loop.time() >= deadline:
            raise errors.resource_version_too_large(revision, storage.clock.latest)
        await asyncio.sleep(0.05)


def _cached(store: ResourceStore, selection: Selection) -> list[Stored]:
    if selection.exact:
        found = store.cache.get(selection.prefix)
        return [found] if found is not None else []
    return store.cache.snapshot(selection.prefix)


async def _next_page(store: ResourceStore, selection: Selection, options: ListOptions) -> Listing:
    position = continue_token.decode(options.token)
    start = selection.prefix + position.start.encode()
    try:
        return await _page(store, selection, start, max(position.revision, 0), options.limit)
    except (CompactedError, FutureRevisionError) as error:
        refusal = errors.expired(EXPIRED_CONTINUE)
        fresh = continue_token.encode(continue_token.Position(-1, position.start))
        raise ExpiredContinue(refusal, fresh) from error


class ExpiredContinue(errors.StatusError):
    """410 for an old continue token, with one that goes on inconsistently."""

    def __init__(self, refusal: errors.StatusError, token: str) -> None:
        super().__init__(refusal.code, refusal.reason, refusal.message, refusal.details)
        self.token = token

    def to_status(self) -> JsonObject:
        status = super().to_status()
        status["metadata"] = {"continue": self.token}
        return status


async def _page(
    store: ResourceStore, selection: Selection, start: bytes, revision: int, limit: int
) -> Listing:
    """Read from `start` until `limit` objects are selected, all at one revision."""
    if selection.exact:
        return await _single(store, selection, revision)
    prefix, items = selection.prefix, list[Stored]()
    while True:
        size = limit - len(items) if limit else 0
        if size and not selection.everything:
            size = max(size, FILTERED_PAGE_ITEMS)
        page = await store.storage.list(
            prefix, start=start, limit=size, revision=revision, known=store.cache
        )
        revision = revision or page.revision
        for position, item in enumerate(page.items):
            if selection.matches(item):
                items.append(item)
            if limit and len(items) == limit:
                unread = len(page.items) - position - 1
                if not (page.more or unread):
                    return Listing(items, revision)
                remaining = page.count - position - 1 if selection.everything else None
                return Listing(items, revision, _token(prefix, item.key, revision), remaining)
        if not page.more:
            return Listing(items, revision)
        start = page.items[-1].key + b"\0"


async def _single(store: ResourceStore, selection: Selection, revision: int) -> Listing:
    """List by name: one key, as a list of one or none."""
    page = await store.storage.get_page(selection.prefix, revision)
    items = [item for item in page.items if selection.matches(item)]
    return Listing(items, revision or page.revision)


def _token(prefix: bytes, key: bytes, revision: int) -> str:
    start = key[len(prefix) :].decode() + "\0"
    return continue_token.encode(continue_token.Position(revision, start))
