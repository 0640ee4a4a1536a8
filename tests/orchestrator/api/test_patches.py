"""JSON patch, merge patch, strategic merge patch."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.api.errors import StatusError
from orchestrator.api.json_object import JsonObject, copy_json
from orchestrator.api.patch import (
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_MERGE_PATCH,
    apply_patch,
)
from orchestrator.api.patch.json_patch import OPERATIONS_MAX
from orchestrator.api.resource import Resource
from orchestrator.api.resources import DEPLOYMENT, POD, SERVICE


def patched(media_type: str, obj: JsonObject, patch: Any, resource: Resource = POD) -> JsonObject:
    before = copy_json(obj)
    made = apply_patch(resource, media_type, json.dumps(patch).encode(), obj)
    assert obj == before, "the original must stay as it was"
    return made


@pytest.mark.parametrize(
    ("obj", "patch", "expected"),
    [
        ({"a": 1}, [{"op": "add", "path": "/b", "value": 2}], {"a": 1, "b": 2}),
        ({"a": [1, 3]}, [{"op": "add", "path": "/a/1", "value": 2}], {"a": [1, 2, 3]}),
        ({"a": [1]}, [{"op": "add", "path": "/a/-", "value": 2}], {"a": [1, 2]}),
        ({"a": 1}, [{"op": "remove", "path": "/a"}], {}),
        ({"a": 1}, [{"op": "replace", "path": "/a", "value": None}], {"a": None}),
        ({"a/b": 1}, [{"op": "remove", "path": "/a~1b"}], {}),
        ({"a": 1}, [{"op": "move", "from": "/a", "path": "/b"}], {"b": 1}),
        ({"a": [1]}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": [1], "b": [1]}),
        ({"a": 1}, [{"op": "test", "path": "/a", "value": 1}], {"a": 1}),
    ],
)
def test_json_patch(obj: JsonObject, patch: Any, expected: JsonObject) -> None:
    assert patched(JSON_PATCH, obj, patch) == expected


@pytest.mark.parametrize(
    "row",
    [
        {"op": "test", "path": "/a", "value": 2},
        {"op": "test", "path": "/a", "value": True},
        {"op": "remove", "path": "/b"},
        {"op": "replace", "path": "/b", "value": 1},
        {"op": "add", "path": "/b/c", "value": 1},
        {"op": "add", "path": "/l/3", "value": 1},
        {"op": "add", "path": "/l/01", "value": 1},
        {"op": "add", "path": "b", "value": 1},
        {"op": "add", "path": "/b"},
        {"op": "move", "from": "/o", "path": "/o/x"},
        {"op": "fly", "path": "/a"},
        {"op": "replace", "path": "", "value": 1},
    ],
)
def test_json_patches_that_do_not_fit_are_422(row: JsonObject) -> None:
    with pytest.raises(StatusError) as caught:
        patched(JSON_PATCH, {"a": 1, "l": [], "o": {}}, [row])
    assert caught.value.code == 422


def test_json_patch_limits() -> None:
    operation = {"op": "test", "path": "/a", "value": 1}
    with pytest.raises(StatusError) as caught:
        patched(JSON_PATCH, {"a": 1}, [operation] * (OPERATIONS_MAX + 1))
    assert caught.value.code == 413
    doubling = [{"op": "copy", "from": "/l", "path": "/l/-"}] * 40
    with pytest.raises(StatusError, match="accumulated size"):
        patched(JSON_PATCH, {"l": [1]}, doubling)


def test_merge_patch_follows_the_examples_of_rfc_7386() -> None:
    for target, patch, result in (
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ):
        assert patched(MERGE_PATCH, target, patch) == result


def spec(obj: Any) -> JsonObject:
    return {"spec": obj}


CONTAINERS = [{"name": "a", "image": "1", "command": ["x", "y"]}, {"name": "b", "image": "2"}]


@pytest.mark.parametrize(
    ("name", "patch", "expected"),
    [
        (
            "items merge by key, atomic lists are replaced",
            {"containers": [{"name": "a", "command": ["z"]}, {"name": "c"}]},
            {
                "containers": [
                    {"name": "a", "image": "1", "command": ["z"]},
                    {"name": "b", "image": "2"},
                    {"name": "c"},
                ]
            },
        ),
        (
            "an item goes by $patch: delete",
            {"containers": [{"name": "a", "$patch": "delete"}]},
            {"containers": [{"name": "b", "image": "2"}]},
        ),
        (
            "a list goes by $patch: replace",
            {"containers": [{"name": "z"}, {"$patch": "replace"}]},
            {"containers": [{"name": "z"}]},
        ),
        (
            "order follows $setElementOrder",
            {
                "$setElementOrder/containers": [{"name": "b"}, {"name": "n"}, {"name": "a"}],
                "containers": [{"name": "n"}],
            },
            {"containers": [CONTAINERS[1], {"name": "n"}, CONTAINERS[0]]},
        ),
        ("null deletes", {"containers": None}, {}),
        (
            "an object goes by $patch: replace",
            {"containers": [{"name": "b", "$patch": "replace", "image": "9"}]},
            {"containers": [{"name": "b", "image": "9"}]},
        ),
    ],
)
def test_strategic_merge_of_lists(name: str, patch: JsonObject, expected: JsonObject) -> None:
    made = patched(STRATEGIC_MERGE_PATCH, spec({"containers": CONTAINERS}), spec(patch))
    assert made == spec(expected), name


def test_strategic_merge_of_scalar_lists() -> None:
    obj = {"metadata": {"finalizers": ["a", "b"]}}
    added = patched(STRATEGIC_MERGE_PATCH, obj, {"metadata": {"finalizers": ["b", "c"]}})
    assert added["metadata"]["finalizers"] == ["a", "b", "c"]
    patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}
    assert patched(STRATEGIC_MERGE_PATCH, obj, patch)["metadata"]["finalizers"] == ["b"]


def test_retain_keys_drops_the_other_member_of_a_union() -> None:
    obj = spec({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}})
    patch = spec({"strategy": {"$retainKeys": ["type"], "type": "Recreate"}})
    made = patched(STRATEGIC_MERGE_PATCH, obj, patch, DEPLOYMENT)
    assert made == spec({"strategy": {"type": "Recreate"}})


def test_service_ports_merge_by_port() -> None:
    obj = spec({"ports": [{"port": 80, "nodePort": 30000}]})
    patch = spec({"ports": [{"port": 80, "targetPort": 8080}]})
    made = patched(STRATEGIC_MERGE_PATCH, obj, patch, SERVICE)
    assert made == spec({"ports": [{"port": 80, "nodePort": 30000, "targetPort": 8080}]})


@pytest.mark.parametrize(
    "patch",
    [
        {"spec": {"containers": [{"image": "x"}]}},
        {"spec": {"$patch": "merge it"}},
        {"metadata": {"$deleteFromPrimitiveList/finalizers": "a"}},
        {"metadata": {"finalizers": [{}]}},
        [],
    ],
)
def test_malformed_strategic_patches_are_400(patch: Any) -> None:
    with pytest.raises(StatusError) as caught:
        patched(STRATEGIC_MERGE_PATCH, {"metadata": {"finalizers": ["a"]}}, patch)
    assert caught.value.code == 400


def test_kinds_without_a_schema_have_no_strategic_merge() -> None:
    unknown = Resource("example.com", "v1", "Thing", "things")
    with pytest.raises(StatusError) as caught:
        patched(STRATEGIC_MERGE_PATCH, {}, {}, unknown)
    assert caught.value.code == 415
    assert patched(MERGE_PATCH, {}, {"a": 1}, unknown) == {"a": 1}
