"""The types of built-in kinds: what fields an object may have, and how their lists merge.

The schemas come from `schemas/<version>.json.gz`, which `tools/kubernetes_schemas.py` makes at
build time. They are read on first use (about 10 ms); a node of the type tree is made when it is
first visited. Nodes are shared and immutable.
"""

from __future__ import annotations

import gzip
from enum import Enum
from functools import cache
from importlib import resources
from typing import Any

import orjson

from orchestrator.api.json_object import JsonObject

VERSION = "1.35.0"
"""The Kubernetes version whose schemas are served."""

REF_PREFIX = "#/components/schemas/"


class SchemaType(Enum):
    """What a value must be."""

    OBJECT = "object"
    """A struct: named fields."""
    MAP = "map"
    LIST = "list"
    STRING = "string"
    BYTES = "bytes"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    QUANTITY = "quantity"
    INT_OR_STRING = "int_or_string"
    TIME = "time"
    MICRO_TIME = "micro_time"
    ANY = "any"
    """Any JSON: RawExtension, FieldsV1, JSON."""


_BY_NAME = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": SchemaType.QUANTITY,
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": SchemaType.INT_OR_STRING,
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": SchemaType.TIME,
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": SchemaType.MICRO_TIME,
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": SchemaType.ANY,
    "io.k8s.apimachinery.pkg.runtime.RawExtension": SchemaType.ANY,
}
_BY_TYPE = {
    "string": SchemaType.STRING,
    "integer": SchemaType.INTEGER,
    "number": SchemaType.NUMBER,
    "boolean": SchemaType.BOOLEAN,
    "array": SchemaType.LIST,
}

KEY_DEFAULTS = {"protocol": "TCP"}
"""Defaults of fields that are keys of list-maps; a key is complete only with them."""


class SchemaNode:
    """The type of one field, with the rules by which patches merge it."""

    __slots__ = (
        "_fields",
        "_items",
        "_raw",
        "format",
        "list_map_keys",
        "list_type",
        "map_type",
        "name",
        "patch_merge_key",
        "patch_strategy",
        "type",
    )

    def __init__(self, name: str, raw: JsonObject, site: JsonObject) -> None:
        """Make the node of definition `name` (empty: none) whose use at `site` adds merge rules."""
        self.name = name
        self._raw = raw
        self._fields: dict[str, SchemaNode] | None = None
        self._items: SchemaNode | None = None
        self.format: str = raw.get("format", "")
        self.type = _type_of(name, raw)
        rules = {**raw, **site}
        strategies = rules.get("x-kubernetes-patch-strategy", "")
        self.patch_strategy: frozenset[str] = frozenset(filter(None, strategies.split(",")))
        self.patch_merge_key: str | None = rules.get("x-kubernetes-patch-merge-key")
        self.list_type: str = rules.get("x-kubernetes-list-type") or "atomic"
        self.list_map_keys: tuple[str, ...] = tuple(rules.get("x-kubernetes-list-map-keys") or ())
        self.map_type: str = rules.get("x-kubernetes-map-type") or "granular"

    @property
    def fields(self) -> dict[str, SchemaNode]:
        """A struct's fields by name; empty for everything else."""
        if self._fields is None:
            properties = self._raw.get("properties") or {}
            self._fields = {key: _node(below) for key, below in properties.items()}
        return self._fields

    @property
    def items(self) -> SchemaNode:
        """The type of a list's items or a map's values."""
        if self._items is None:
            below = self._raw.get("items", self._raw.get("additionalProperties"))
            self._items = _node(below) if isinstance(below, dict) else ANY
        return self._items

    @property
    def go_type(self) -> str:
        """The type as Go's decoder names it in errors, near enough for people."""
        match self.type:
            case SchemaType.OBJECT:
                return f"v1.{self.struct}"
            case SchemaType.LIST:
                return f"[]{self.items.go_type}"
            case SchemaType.MAP:
                return f"map[string]{self.items.go_type}"
            case SchemaType.INTEGER:
                return self.format or "int64"
            case SchemaType.BOOLEAN:
                return "bool"
            case SchemaType.NUMBER:
                return "float64"
            case SchemaType.BYTES:
                return "[]uint8"
            case _:
                return "string"

    @property
    def struct(self) -> str:
        """The definition's last name: `DeploymentSpec`."""
        return self.name.rsplit(".", 1)[-1]


def _type_of(name: str, raw: JsonObject) -> SchemaType:
    if name in _BY_NAME:
        return _BY_NAME[name]
    kind = raw.get("type")
    if kind == "object":
        if "properties" in raw:
            return SchemaType.OBJECT
        return SchemaType.MAP if "additionalProperties" in raw else SchemaType.OBJECT
    if kind == "string" and raw.get("format") == "byte":
        return SchemaType.BYTES
    if kind == "string" and raw.get("format") == "date-time":
        return SchemaType.TIME
    return _BY_TYPE.get(kind or "", SchemaType.ANY)


ANY = SchemaNode("", {}, {})
"""The node of a value about which nothing is known."""


@cache
def definitions() -> dict[str, Any]:
    """Every definition by its full name (`io.k8s.api.core.v1.Pod`); read on the first call."""
    packed = resources.files("orchestrator.api").joinpath("schemas", f"{VERSION}.json.gz")
    with packed.open("rb") as file:
        loaded: dict[str, Any] = orjson.loads(gzip.decompress(file.read()))["definitions"]
    return loaded


@cache
def _definition_node(name: str) -> SchemaNode:
    return SchemaNode(name, definitions()[name], {})


def reference(raw: JsonObject) -> str | None:
    """The name of the definition to which a schema refers, or None."""
    ref = raw.get("$ref")
    if ref is None and raw.get("allOf"):
        ref = raw["allOf"][0].get("$ref")
    return ref.removeprefix(REF_PREFIX) if ref else None


def _node(raw: JsonObject) -> SchemaNode:
    name = reference(raw)
    if name is None:
        return SchemaNode("", raw, {})
    if any(key.startswith("x-kubernetes-") for key in raw):
        return SchemaNode(name, definitions()[name], raw)
    return _definition_node(name)


@cache
def definition_names() -> dict[tuple[str, str], str]:
    """(`apiVersion`, `kind`) -> the definition's full name."""
    names: dict[tuple[str, str], str] = {}
    for name, schema in definitions().items():
        for row in schema.get("x-kubernetes-group-version-kind", ()):
            group_version = f"{row['group']}/{row['version']}" if row["group"] else row["version"]
            names[group_version, row["kind"]] = name
    return names


def schema_of(api_version: str, kind: str) -> SchemaNode | None:
    """The type of a kind, or None where the published schemas do not have it."""
    name = definition_names().get((api_version, kind))
    return None if name is None else _definition_node(name)
