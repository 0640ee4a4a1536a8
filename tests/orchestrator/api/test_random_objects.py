"""Objects that fit their schema, and little else, pass through every rule without a crash."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.api.conform import conform
from orchestrator.api.errors import StatusError
from orchestrator.api.json_object import JsonObject, copy_json
from orchestrator.api.object_meta import begin_object, keep_system_metadata
from orchestrator.api.patch.managed_fields import track_update
from orchestrator.api.patch.server_side_apply import apply
from orchestrator.api.resource import Resource
from orchestrator.api.resources import BUILT_IN
from orchestrator.api.schema import SchemaNode, SchemaType, schema_of
from orchestrator.api.table import to_table

NOW = datetime(2024, 1, 1, tzinfo=UTC)
ROUNDS = 12
DEPTH_MAX = 7
UNSET = ("apiVersion", "kind", "managedFields")
SCALARS: dict[SchemaType, tuple[Any, ...]] = {
    SchemaType.STRING: ("", "a", "A b", "TCP", "None", "RollingUpdate", "10.0.0.1", "NodePort"),
    SchemaType.BYTES: ("eA==",),
    SchemaType.INTEGER: (-1, 0, 1, 80, 70000),
    SchemaType.NUMBER: (1.5,),
    SchemaType.BOOLEAN: (True, False),
    SchemaType.QUANTITY: ("1", "1Gi", "-1", "100m"),
    SchemaType.INT_OR_STRING: (0, 1, "25%", "http", -1),
    SchemaType.TIME: ("2024-01-01T00:00:00Z",),
    SchemaType.MICRO_TIME: ("2024-01-01T00:00:00.000000Z",),
}


def generate(node: SchemaNode, draw: random.Random, depth: int = 0) -> Any:
    match node.type:
        case SchemaType.OBJECT:
            density = draw.choice((0.05, 0.2, 0.5)) if depth > 1 else 0.7
            return {
                key: generate(below, draw, depth + 1)
                for key, below in node.fields.items()
                if depth < DEPTH_MAX and draw.random() < density and key not in UNSET
            }
        case SchemaType.LIST:
            return [generate(node.items, draw, depth + 1) for _ in range(draw.choice((0, 1, 2)))]
        case SchemaType.MAP:
            keys = draw.sample(("a", "", "b c", "app"), draw.choice((0, 1, 2)))
            return {key: generate(node.items, draw, depth + 1) for key in keys}
        case _:
            return draw.choice(SCALARS.get(node.type, ({}, {"a": 1})))


@pytest.mark.parametrize("resource", BUILT_IN, ids=lambda row: f"{row.group}.{row.kind}")
def test_every_rule_stands_any_object(resource: Resource) -> None:
    schema = schema_of(resource.group_version, resource.kind)
    assert schema is not None
    strategy = resource.strategy
    for seed in range(ROUNDS):
        draw = random.Random(f"{resource.kind} {seed}")

        def make(draw: random.Random = draw) -> JsonObject:
            made: JsonObject = generate(schema, draw)
            assert conform(made, schema) == []
            return made

        old = {"apiVersion": resource.group_version, "kind": resource.kind, **make()}
        namespace = "ns" if resource.namespaced else ""
        begin_object(old, namespace=namespace, uid="u", now=NOW, random=draw)
        strategy.default(old)
        track_update(resource, None, old, manager="m", now=NOW)
        strategy.prepare_for_create(old)
        strategy.validate(old)
        strategy.fields(old)
        strategy.grace_period_s(old, None)
        assert conform(copy_json(old), schema) == [], "defaults must be fields of the kind"
        assert strategy.from_storage(strategy.to_storage(old)) == old
        to_table(resource, [old], now=NOW)
        new = make()
        keep_system_metadata(new, old)
        strategy.default(new)
        strategy.prepare_for_update(new, old)
        track_update(resource, old, new, manager="k", now=NOW)
        strategy.validate_update(new, old)
        apply_twice(resource, new, make())


def apply_twice(resource: Resource, live: JsonObject, config: JsonObject) -> None:
    """The second time changes nothing; lists with two items of one key are refused."""
    try:
        once = apply(resource, live, config, manager="z", force=True, now=NOW)
    except StatusError as error:
        if "duplicate entries" not in error.message:
            raise
        return
    assert apply(resource, once, config, manager="z", force=False, now=NOW) == once
