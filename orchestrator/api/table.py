"""Tables: what `kubectl get` receives instead of objects."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from orchestrator.api.errors import bad_request
from orchestrator.api.json_object import JsonObject
from orchestrator.api.printers import printer_of
from orchestrator.api.resource import Resource

API_VERSION = "meta.k8s.io/v1"
IncludeObject = Literal["None", "Metadata", "Object"]


def parse_include_object(text: str | None) -> IncludeObject:
    """Read `includeObject=`; absent means Metadata. StatusError 400 for another word."""
    match text:
        case None | "" | "Metadata":
            return "Metadata"
        case "None" | "Object":
            return text
        case _:
            raise bad_request(f"unrecognized includeObject value: {text!r}")


def to_table(
    resource: Resource,
    objects: Iterable[JsonObject],
    *,
    now: datetime,
    include_object: IncludeObject = "Metadata",
    with_columns: bool = True,
    metadata: JsonObject | None = None,
) -> JsonObject:
    """Return a Table with a row per object.

    `metadata` is the list's (resourceVersion, continue); a watch gives an object's resourceVersion.
    `with_columns` is False for every event of a watch but the first.
    """
    printer = printer_of(resource.group, resource.kind)
    columns = [column.to_definition() for column in printer.columns] if with_columns else []
    rows = [
        {"cells": printer.row(obj, now), "object": _embedded(obj, include_object)}
        for obj in objects
    ]
    return {
        "kind": "Table",
        "apiVersion": API_VERSION,
        "metadata": metadata or {},
        "columnDefinitions": columns,
        "rows": rows,
    }


def _embedded(obj: JsonObject, include: IncludeObject) -> JsonObject | None:
    match include:
        case "None":
            return None
        case "Metadata":
            return to_partial_metadata(obj)
        case "Object":
            return obj


def to_partial_metadata(obj: JsonObject) -> JsonObject:
    """Return the object's PartialObjectMetadata, which shares its metadata."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": API_VERSION,
        "metadata": obj.get("metadata") or {},
    }
