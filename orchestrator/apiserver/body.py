"""Bodies of requests: read within the limit, and made objects of their kind."""

from __future__ import annotations

from aiohttp import web

from orchestrator.api import errors
from orchestrator.api.decode import check_object, decode_object
from orchestrator.api.json_object import JsonObject
from orchestrator.api.resource import Resource
from orchestrator.apiserver.request_context import RequestContext


async def read_body(request: web.BaseRequest, bytes_max: int) -> bytes:
    """Read the whole body; StatusError 413 beyond `bytes_max`."""
    refusal = errors.too_large(f"limit is {bytes_max}")
    if (request.content_length or 0) > bytes_max:
        raise refusal
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > bytes_max:
            raise refusal
    return bytes(body)


def content_type(request: web.BaseRequest) -> str:
    return request.headers.get("Content-Type", "application/json")


def decoded_body(context: RequestContext, body: bytes, kind: str, resource: Resource) -> JsonObject:
    """Read a body as an object of `resource`, by the request's field validation."""
    version, validation = resource.group_version, context.field_validation
    decoded = decode_object(body, kind, version, resource.kind, validation)
    for text in decoded.warnings:
        context.warn(text)
    return decoded.obj


def conforming(
    context: RequestContext, resource: Resource, obj: JsonObject, faults: list[str] | None = None
) -> JsonObject:
    """Bring a patched object into the form of its schema, by the request's field validation.

    `faults` are what parsing has found already.
    """
    version, validation = resource.group_version, context.field_validation
    checked = check_object(obj, version, resource.kind, validation, faults)
    for text in checked.warnings:
        context.warn(text)
    return checked.obj
