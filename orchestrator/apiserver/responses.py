"""Answers: objects, lists and refusals in the form that the client accepts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from orchestrator.api.errors import StatusError
from orchestrator.api.json_object import JsonObject
from orchestrator.apiserver.negotiation import JSON, Form, Output
from orchestrator.apiserver.request_context import RequestContext
from orchestrator.apiserver.stored import Stored

if TYPE_CHECKING:
    from orchestrator.api.table import IncludeObject


def status_response(error: StatusError) -> web.Response:
    """The answer to a refused request: its Status object under its code."""
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    return web.Response(
        body=orjson.dumps(error.to_status()), status=error.code, content_type=JSON, headers=headers
    )


def body_response(body: bytes, output: Output, status: int = 200) -> web.Response:
    """Answer with JSON `body`, turned into YAML where that is accepted."""
    if output.yaml:
        body = to_yaml(orjson.loads(body))
    return web.Response(body=body, status=status, headers={"Content-Type": output.content_type})


def json_response(obj: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(obj), status=status, content_type=JSON)


def text_response(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/plain")


def not_found_page() -> web.Response:
    """What an unknown path gets: plain text, as it names no resource."""
    return text_response("404 page not found\n", 404)


def add_warnings(response: web.StreamResponse, warnings: Iterable[str]) -> None:
    for text in warnings:
        quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
        response.headers.add("Warning", f'299 - "{quoted}"')


def success_status(context: RequestContext, name: str, uid: str) -> JsonObject:
    """What a delete answers when the object is gone."""
    details = {"name": name, "kind": context.resource.plural, "uid": uid}
    if context.resource.group:
        details["group"] = context.resource.group
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details,
    }


def partial(obj: JsonObject, version: str) -> JsonObject:
    """Reduce an object to its metadata."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": obj["metadata"],
    }


def object_body(
    stored: Stored, context: RequestContext, output: Output, include: IncludeObject
) -> bytes:
    """Encode one object in the form chosen; `include` is the Table's includeObject."""
    match output.form:
        case Form.OBJECT:
            return stored.encoded
        case Form.TABLE:
            return table_body([stored], context, output, include, {})
        case _:
            return orjson.dumps(partial(stored.object, output.version))


def list_body(
    items: list[Stored],
    context: RequestContext,
    output: Output,
    include: IncludeObject,
    metadata: JsonObject,
) -> bytes:
    """Encode a list; `metadata` is its ListMeta. Items' own encodings are reused."""
    match output.form:
        case Form.TABLE:
            return table_body(items, context, output, include, metadata)
        case Form.OBJECT:
            kind, version = context.resource.list_kind, context.resource.group_version
            encoded = [stored.encoded for stored in items]
        case _:
            kind, version = output.form.value, f"meta.k8s.io/{output.version}"
            encoded = [orjson.dumps(partial(stored.object, output.version)) for stored in items]
    head = {"kind": kind, "apiVersion": version, "metadata": metadata}
    return orjson.dumps(head)[:-1] + b',"items":[' + b",".join(encoded) + b"]}"


def table_body(
    items: list[Stored],
    context: RequestContext,
    output: Output,
    include: IncludeObject,
    metadata: JsonObject,
    *,
    columns: bool = True,
) -> bytes:
    """Encode objects as a Table; watches send the column definitions only with the first event."""
    from orchestrator.api.table import to_table

    if not metadata and items:
        metadata = {"resourceVersion": str(max(stored.revision for stored in items))}
    made = to_table(
        context.resource,
        [stored.object for stored in items],
        now=context.now,
        include_object=include,
        with_columns=columns,
        metadata=metadata,
    )
    made["apiVersion"] = f"meta.k8s.io/{output.version}"
    return orjson.dumps(made)


def to_yaml(obj: Any) -> bytes:
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text: str = yaml.dump(obj, Dumper=dumper, sort_keys=True, default_flow_style=False)
    return text.encode()
