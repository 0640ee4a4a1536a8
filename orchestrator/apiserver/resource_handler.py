"""Requests about resources: from the HTTP request to the engine, and back to an answer."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiohttp import web

from orchestrator.api import errors
from orchestrator.api.decode import decode_delete_options
from orchestrator.api.json_object import JsonObject, copy_json
from orchestrator.api.patch import apply_patch
from orchestrator.api.resource import Registry
from orchestrator.apiserver.authentication import User
from orchestrator.apiserver.body import conforming, content_type, decoded_body, read_body
from orchestrator.apiserver.discovery import find_resource
from orchestrator.apiserver.listing import Listing, list_objects, list_options
from orchestrator.apiserver.negotiation import PATCH_TYPES, choose_output, media_type
from orchestrator.apiserver.request_context import RequestContext, delete_options, write_options
from orchestrator.apiserver.request_info import RequestInfo
from orchestrator.apiserver.resource_store import ResourceStore
from orchestrator.apiserver.responses import (
    add_warnings,
    body_response,
    json_response,
    list_body,
    object_body,
    success_status,
)
from orchestrator.apiserver.reviews import answer
from orchestrator.apiserver.selection import select
from orchestrator.apiserver.stored import Stored
from orchestrator.apiserver.subresources import SubresourceHandlers
from orchestrator.apiserver.watching import WatchStream, serve_watch, watch_options

if TYPE_CHECKING:
    from orchestrator.api.table import IncludeObject

APPLY = "application/apply-patch+yaml"

RETURNS_DELETED = frozenset(
    {"pods", "services", "serviceaccounts", "persistentvolumes", "persistentvolumeclaims"}
    | {"resourcequotas", "podtemplates"}
)
"""Kinds whose DELETE answers with the object even when it is gone; the others send a Status."""


class ResourceHandler:
    """Serves every path that `request_info.parse_request` recognizes."""

    def __init__(
        self,
        registry: Registry,
        stores: Mapping[tuple[str, str, str], ResourceStore],
        subresources: SubresourceHandlers,
        *,
        body_bytes_max: int,
        bookmark_interval_s: float,
    ) -> None:
        self._registry = registry
        self._stores = stores
        self._subresources = subresources
        self._body_bytes_max = body_bytes_max
        self._bookmark_interval_s = bookmark_interval_s

    async def handle(
        self, request: web.BaseRequest, info: RequestInfo, user: User
    ) -> web.StreamResponse:
        """Answer one request; refusals are raised as StatusError."""
        resource = find_resource(self._registry, info.group, info.version, info.plural)
        store = self._stores[resource.group, resource.version, resource.plural]
        context = RequestContext(user, resource, info, datetime.now(UTC))
        if info.mutating and info.verb not in ("delete", "deletecollection"):
            options = write_options(request.query, request.headers.get("User-Agent", ""))
            context.dry_run = options["dry_run"]
            context.field_manager = options["field_manager"]
            context.field_validation = options["field_validation"]
            context.force = options["force"]
        if info.subresource:
            response = await self._subresource(request, store, context)
        else:
            response = await self._resource(request, store, context)
        if not response.prepared:
            add_warnings(response, context.warnings)
        return response

    async def _resource(
        self, request: web.BaseRequest, store: ResourceStore, context: RequestContext
    ) -> web.StreamResponse:
        info = context.info
        if info.verb not in context.resource.verbs:
            raise errors.method_not_allowed()
        writes_into = info.verb in ("create", "deletecollection") or info.name
        if writes_into and context.resource.namespaced and not info.namespace:
            raise errors.method_not_allowed()
        match info.verb:
            case "get":
                return await self._get(request, store, context)
            case "list":
                return await self._list(request, store, context)
            case "watch":
                return await self._watch(request, store, context)
            case "create" if not info.name:
                return await self._create(request, store, context)
            case "update" if info.name:
                return await self._replace(request, store, context)
            case "patch" if info.name:
                return await self._patch(request, store, context)
            case "delete":
                return await self._delete(request, store, context)
            case "deletecollection":
                return await self._delete_collection(request, store, context)
            case _:
                raise errors.method_not_allowed()

    async def _subresource(
        self, request: web.BaseRequest, store: ResourceStore, context: RequestContext
    ) -> web.StreamResponse:
        """Serve `/status` like the object itself, all other subresources by their own handlers."""
        resource, info = context.resource, context.info
        row = resource.subresource(info.subresource)
        if row is None:
            message = "the server could not find the requested resource"
            raise errors.StatusError(404, "NotFound", message, {})
        if info.verb not in row.verbs:
            raise errors.method_not_allowed()
        if info.subresource != "status":
            handler = self._subresources.find(resource, info.subresource)
            body = await self._read(request) if info.mutating else b""
            return await handler(request, store, context, body)
        match info.verb:
            case "get":
                return await self._get(request, store, context)
            case "update":
                return await self._replace(request, store, context)
            case _:
                return await self._patch(request, store, context)

    async def _get(
        self, request: web.BaseRequest, store: ResourceStore, context: RequestContext
    ) -> web.Response:
        stored = None
        if request.query.get("resourceVersion") == "0":
            await store.cache.ensure_started()
            stored = store.cache.get(store.key(context.namespace, context.name))
        if stored is None:
            stored = await store.get(context.namespace, context.name)
        return self._show(request, context, stored)

    def _show(
        self,
        request: web.BaseRequest,
        context: RequestContext,
        stored: Stored,
        status: int = 200,
    ) -> web.Response:
        output = choose_output(request.headers.get("Accept"), single=True)
        body = object_body(stored, context, output, include_object(request.query))
        return body_response(body, output, status)

    async def _list(
        self, request: web.BaseRequest, store: ResourceStore, context: RequestContext
    ) -> web.Response:
        selection = select(store, context.namespace, "", request.query)
        choose_output(request.headers.get("Accept"), single=False)
        listing = await list_objects(store, selection, list_options(request.query))
        return self._show_list(request, context, listing)

    def _show_list(
        self, request: web.BaseRequest, context: RequestContext, listing: Listing
    ) -> web.Response:
        output = choose_output(request.headers.get("Accept"), single=False)
        include = include_object(request.query)
        body = list_body(listing.items, context, output, include, listing.metadata)
        return body_response(body, output)

    async def _watch(
        self, request: web.BaseRequest, store: ResourceStore, context: RequestContext
    ) -> web.StreamResponse:
        options = watch_options(request.query)
        selection = select(store, context.namespace, context.name, request.query)
        output = choose_output(request.headers.get("Accept"), single=True)
        stream = WatchStream(context, selection, output, include_object(request.query))
        response = web.StreamResponse(headers={"Content-Type": output.content_type})
        response.enable_chunked_encoding()
        return await serve_watch(
            request, store, stream, selection, options, response, self._bookmark_interval_s
        )

    async def _create(
        self, request: web.BaseRequest, store: ResourceStore, context: RequestContext
    ) -> web.Response:
        obj = decoded_body(
            context, await self._read(request), content_type(request), context.resource
        )
        if not context.resource.stored:
            return json_response(answer(context.resource, obj, context.user), 201)
        stored = await store.create(context, obj)
        return self._show(request, context, stored, 201)

    async def _replace(
        self, request: web.BaseRequest, store: ResourceStore, context: RequestContext
    ) -> web.Response:
        obj = decoded_body(
            context, await self._read(request), content_type(request), context.resource
        )
        sent = (obj.get("metadata") or {}).get("name")
        if sent != context.name:
            raise errors.bad_request(
                f"the name of the object ({sent or ''}) does not match "
                f"the name on the URL ({context.name})"
            )

        async def make(_: JsonObject) -> JsonObject:
            copied: JsonObject = copy_json(obj)
            return copied

        stored, created = await store.update(context, make, replacing=True)
        return self._show(request, context, stored, 201 if created else 200)

    async def _patch(
        self, request: web.BaseRequest, store: ResourceStore, context: RequestContext
    ) -> web.Response:
        resource, kind = context.resource, media_type(request.headers.get("Content-Type"))
        if kind not in PATCH_TYPES:
            raise errors.unsupported_media_type(PATCH_TYPES)
        body = await self._read(request)
        if kind == APPLY:
            return await self._apply(request, store, context, body)

        async def make(old: JsonObject) -> JsonObject:
            return conforming(context, resource, apply_patch(resource, kind, body, old))

        stored, _ = await store.update(context, make)
        return self._show(request, context, stored)

    async def _apply(
        self,
        request: web.BaseRequest,
        store: ResourceStore,
        context: RequestContext,
        body: bytes,
    ) -> web.Response:
        """Server-side apply: create what is missing, else merge by field ownership."""
        from orchestrator.apiserver.applying import apply_object

        stored, created = await apply_object(store, context, body, request.query)
        return self._show(request, context, stored, 201 if created else 200)

    async def _delete(
        self, request: web.BaseRequest, store: ResourceStore, context: RequestContext
    ) -> web.Response:
        body = decode_delete_options(await self._read(request), content_type(request))
        options = delete_options(body, request.query)
        stored, gone = await store.delete(context, context.name, options)
        if gone and context.resource.plural not in RETURNS_DELETED:
            uid = stored.object["metadata"].get("uid", "")
            return json_response(success_status(context, context.name, uid))
        return self._show(request, context, stored)

    async def _delete_collection(
        self, request: web.BaseRequest, store: ResourceStore, context: RequestContext
    ) -> web.Response:
        """Delete every selected object; one that is gone meanwhile is as good as deleted."""
        body = decode_delete_options(await self._read(request), content_type(request))
        options = delete_options(body, request.query)
        selection = select(store, context.namespace, "", request.query)
        listing = await list_objects(store, selection, list_options(request.query))
        deleted = []
        for item in listing.items:
            try:
                stored, _ = await store.delete(context, item.object["metadata"]["name"], options)
            except errors.StatusError as error:
                if error.code != 404:
                    raise
            else:
                deleted.append(stored)
        return self._show_list(request, context, Listing(deleted, listing.revision))

    async def _read(self, request: web.BaseRequest) -> bytes:
        return await read_body(request, self._body_bytes_max)


def include_object(query: Mapping[str, str]) -> IncludeObject:
    """Read a Table's includeObject; StatusError 400 where it is unknown."""
    match query.get("includeObject", ""):
        case "" | "Metadata":
            return "Metadata"
        case "None":
            return "None"
        case "Object":
            return "Object"
        case other:
            raise errors.bad_request(f"unrecognized includeObject value: {errors.quote(other)}")
