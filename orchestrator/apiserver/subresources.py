"""Paths below an object that are neither the object nor its status: one handler each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from aiohttp import web

from orchestrator.api import errors
from orchestrator.api.json_object import JsonObject, copy_json, ensure_object, nested
from orchestrator.api.patch import apply_patch
from orchestrator.api.resource import Resource
from orchestrator.api.scale import to_scale, with_scale
from orchestrator.api.times import format_time
from orchestrator.apiserver.body import conforming, content_type, decoded_body
from orchestrator.apiserver.negotiation import media_type
from orchestrator.apiserver.request_context import RequestContext, delete_options
from orchestrator.apiserver.resource_store import ResourceStore
from orchestrator.apiserver.responses import json_response
from orchestrator.apiserver.stored import Stored

Handler: TypeAlias = Callable[
    [web.BaseRequest, ResourceStore, RequestContext, bytes], Awaitable[web.StreamResponse]
]
"""Serves one subresource; `bytes` is the body, empty for reads."""

SCALE = Resource("autoscaling", "v1", "Scale", "scales")
BINDING = Resource("", "v1", "Binding", "bindings")
EVICTION = Resource("policy", "v1", "Eviction", "evictions")


class SubresourceHandlers:
    """Handlers by (group, plural, subresource); an empty plural stands for every kind."""

    def __init__(self, more: Mapping[tuple[str, str, str], Handler]) -> None:
        self._handlers: dict[tuple[str, str, str], Handler] = {
            ("", "", "scale"): serve_scale,
            ("", "pods", "binding"): serve_binding,
            ("", "pods", "eviction"): serve_eviction,
            ("", "pods", "ephemeralcontainers"): _refuse,
            ("", "namespaces", "finalize"): serve_finalize,
            **more,
        }

    def find(self, resource: Resource, name: str) -> Handler:
        """Return the handler; one that answers 501 where the subresource is not served yet."""
        own = self._handlers.get((resource.group, resource.plural, name))
        return own or self._handlers.get(("", "", name)) or _refuse


async def _refuse(
    request: web.BaseRequest, store: ResourceStore, context: RequestContext, body: bytes
) -> web.StreamResponse:
    path = f"{context.resource.plural}/{context.info.subresource}"
    raise errors.not_implemented(f"this server does not serve {path} yet")


async def serve_scale(
    request: web.BaseRequest, store: ResourceStore, context: RequestContext, body: bytes
) -> web.StreamResponse:
    """Read or set the replicas of an object through its Scale."""
    resource = context.resource
    if context.info.verb == "get":
        stored = await store.get(context.namespace, context.name)
        return json_response(to_scale(resource, stored.object))
    kind = content_type(request)

    async def make(old: JsonObject) -> JsonObject:
        present = to_scale(resource, old)
        if context.info.verb == "patch":
            patched = apply_patch(SCALE, media_type(kind), body, present)
            scale = conforming(context, SCALE, patched)
        else:
            scale = decoded_body(context, body, kind, SCALE)
        _check_same_object(resource, scale, old)
        return with_scale(resource, old, scale)

    stored, _ = await store.update(context, make)
    return json_response(to_scale(resource, stored.object))


def _check_same_object(resource: Resource, sent: JsonObject, present: JsonObject) -> None:
    """Raise StatusError 409 where a sent resourceVersion or uid is not the object's."""
    metadata = sent.get("metadata") or {}
    for field in ("resourceVersion", "uid"):
        if metadata.get(field) and metadata[field] != present["metadata"].get(field):
            raise errors.conflict(resource, present["metadata"]["name"])


async def serve_binding(
    request: web.BaseRequest, store: ResourceStore, context: RequestContext, body: bytes
) -> web.StreamResponse:
    """Assign a pod to a node, once: 409 where it is assigned already or going away."""
    binding = decoded_body(context, body, content_type(request), BINDING)
    target = binding.get("target") or {}
    node = target.get("name") or ""
    if not node:
        faults = [errors.required("target.name")]
        raise errors.invalid(BINDING, context.name, faults)
    if target.get("kind") not in (None, "", "Node"):
        fault = errors.not_supported("target.kind", target["kind"], ["Node", "<empty>"])
        raise errors.invalid(BINDING, context.name, [fault])

    async def make(old: JsonObject) -> JsonObject:
        present = nested(old, "spec", "nodeName")
        name = old["metadata"]["name"]
        if old["metadata"].get("deletionTimestamp"):
            text = f"pod {name} is being deleted, cannot be assigned to a host"
            raise errors.conflict(_BindingName(), name, text)
        if present:
            text = f'pod {name} is already assigned to node "{present}"'
            raise errors.conflict(_BindingName(), name, text)
        old["spec"]["nodeName"] = node
        annotations = (binding.get("metadata") or {}).get("annotations")
        if annotations:
            ensure_object(old, "metadata", "annotations").update(annotations)
        _set_scheduled(old, format_time(context.now))
        return old

    await store.rewrite(context, make)
    created = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    return json_response({**created, "code": 201}, 201)


class _BindingName:
    group, plural, kind = "", "pods/binding", "Binding"


def _set_scheduled(pod: JsonObject, now: str) -> None:
    conditions = ensure_object(pod, "status").setdefault("conditions", [])
    kept = [row for row in conditions if row.get("type") != "PodScheduled"]
    scheduled = {
        "type": "PodScheduled",
        "status": "True",
        "lastProbeTime": None,
        "lastTransitionTime": now,
    }
    pod["status"]["conditions"] = [*kept, scheduled]


async def serve_eviction(
    request: web.BaseRequest, store: ResourceStore, context: RequestContext, body: bytes
) -> web.StreamResponse:
    """Delete a pod on behalf of a drain. There are no disruption budgets to ask yet."""
    eviction = decoded_body(context, body, content_type(request), EVICTION)
    options = delete_options(eviction.get("deleteOptions"), {})
    if context.dry_run:
        options = delete_options({**(eviction.get("deleteOptions") or {}), "dryRun": ["All"]}, {})
    await store.delete(context, context.name, options)
    success = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    return json_response({**success, "code": 201}, 201)


async def serve_finalize(
    request: web.BaseRequest, store: ResourceStore, context: RequestContext, body: bytes
) -> web.StreamResponse:
    """Replace a namespace's `spec.finalizers`; with none left, a deleted namespace goes."""
    sent = decoded_body(context, body, content_type(request), context.resource)
    _check_name(context, sent)

    async def make(old: JsonObject) -> JsonObject:
        _check_same_object(context.resource, sent, old)
        ensure_object(old, "spec")["finalizers"] = copy_json(
            nested(sent, "spec", "finalizers") or []
        )
        if not old["spec"]["finalizers"]:
            del old["spec"]["finalizers"]
        return old

    stored: Stored = await store.rewrite(context, make)
    return json_response(stored.object)


def _check_name(context: RequestContext, sent: JsonObject) -> None:
    name = (sent.get("metadata") or {}).get("name")
    if name != context.name:
        raise errors.bad_request(
            f"the name of the object ({name or ''}) does not match "
            f"the name on the URL ({context.name})"
        )
