"""Server-side apply and the managers of fields."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.api.errors import StatusError
from orchestrator.api.json_object import JsonObject, copy_json
from orchestrator.api.patch.field_paths import field_set, from_fields_v1, path_text, to_fields_v1
from orchestrator.api.patch.managed_fields import (
    ANCIENT_CHANGES,
    UPDATE_MANAGERS_MAX,
    read_entries,
    track_update,
)
from orchestrator.api.patch.server_side_apply import apply
from orchestrator.api.resource import Resource
from orchestrator.api.resources import CONFIG_MAP, DEPLOYMENT, SERVICE
from orchestrator.api.schema import schema_of

NOW = datetime(2024, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


def applied(
    live: JsonObject | None,
    config: JsonObject,
    manager: str = "m",
    *,
    force: bool = False,
    resource: Resource = DEPLOYMENT,
    now: datetime = NOW,
) -> JsonObject:
    before = copy_json(live)
    config = {"apiVersion": resource.group_version, "kind": resource.kind, **config}
    made = apply(resource, live, config, manager=manager, force=force, now=now)
    assert live == before
    return made


def deployment(**spec: Any) -> JsonObject:
    return {"metadata": {"name": "d"}, "spec": spec}


def template(*containers: JsonObject) -> JsonObject:
    return {"template": {"spec": {"containers": list(containers)}}}


def owned(obj: JsonObject, manager: str, operation: str = "Apply") -> set[str]:
    for entry in read_entries(obj):
        if (entry.manager, entry.operation) == (manager, operation):
            return {path_text(path) for path in entry.fields}
    return set()


def test_fields_v1_round_trip() -> None:
    ports = [{"port": 80, "targetPort": 8080}]
    obj = {
        "metadata": {"labels": {"a": "b"}, "finalizers": ["x"], "annotations": {}},
        "spec": {"ports": ports, "selector": {"app": "a"}, "externalIPs": ["1.1.1.1"]},
    }
    paths = field_set(obj, schema_of("v1", "Service"))
    fields = to_fields_v1(paths)
    assert fields == {
        "f:metadata": {
            "f:annotations": {},
            "f:finalizers": {'v:"x"': {}},
            "f:labels": {"f:a": {}},
        },
        "f:spec": {
            "f:externalIPs": {},
            "f:ports": {
                'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}, "f:targetPort": {}}
            },
            "f:selector": {},
        },
    }
    assert from_fields_v1(fields) == paths


def test_create_records_the_manager() -> None:
    made = applied(None, deployment(replicas=2, **template({"name": "a", "image": "x"})))
    assert made["spec"]["replicas"] == 2
    (row,) = made["metadata"]["managedFields"]
    assert row["manager"] == "m"
    assert row["operation"] == "Apply"
    assert row["time"] == "2024-01-01T00:00:00Z"
    assert owned(made, "m") == {
        ".spec.replicas",
        '.spec.template.spec.containers[name="a"]',
        '.spec.template.spec.containers[name="a"].name',
        '.spec.template.spec.containers[name="a"].image',
    }


def test_the_same_again_changes_nothing() -> None:
    config = deployment(replicas=2, **template({"name": "a", "image": "x"}))
    made = applied(None, config)
    assert applied(made, config, now=LATER) == made


def test_another_value_is_a_conflict_unless_forced() -> None:
    made = applied(None, deployment(replicas=2))
    with pytest.raises(StatusError) as caught:
        applied(made, deployment(replicas=3), "other")
    assert caught.value.code == 409
    assert caught.value.message == 'Apply failed with 1 conflict: conflict with "m": .spec.replicas'
    assert caught.value.details == {
        "causes": [
            {
                "reason": "FieldManagerConflict",
                "message": 'conflict with "m"',
                "field": ".spec.replicas",
            }
        ]
    }
    forced = applied(made, deployment(replicas=3), "other", force=True)
    assert forced["spec"]["replicas"] == 3
    assert owned(forced, "m") == set()
    assert owned(forced, "other") == {".spec.replicas"}


def test_several_conflicts_are_listed() -> None:
    made = applied(None, deployment(replicas=2, paused=True))
    with pytest.raises(StatusError) as caught:
        applied(made, deployment(replicas=3, paused=False), "other")
    assert caught.value.message == (
        'Apply failed with 2 conflicts: conflicts with "m":\n- .spec.paused\n- .spec.replicas'
    )


def test_the_same_value_is_shared() -> None:
    made = applied(applied(None, deployment(replicas=2)), deployment(replicas=2), "other")
    assert owned(made, "m") == owned(made, "other") == {".spec.replicas"}
    dropped = applied(made, deployment(), "other")
    assert dropped["spec"]["replicas"] == 2
    assert owned(dropped, "other") == {".spec"}


def test_fields_that_nobody_states_any_more_are_removed() -> None:
    first = deployment(
        replicas=2, **template({"name": "a", "image": "x"}, {"name": "b", "image": "y"})
    )
    made = applied(None, first)
    made["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = "Always"
    second = applied(made, deployment(**template({"name": "a", "image": "x"})))
    assert second["spec"] == {
        "template": {
            "spec": {"containers": [{"name": "a", "image": "x", "imagePullPolicy": "Always"}]}
        }
    }


def test_an_emptied_map_goes_with_its_last_key() -> None:
    config = {"metadata": {"name": "c", "labels": {"a": "b"}}, "data": {"k": "v"}}
    made = applied(None, config, resource=CONFIG_MAP)
    second = applied(made, {"metadata": {"name": "c"}}, resource=CONFIG_MAP)
    assert "data" not in second
    assert "labels" not in second["metadata"]


def test_lists_keep_the_items_of_others_in_place() -> None:
    live = {
        "metadata": {"name": "s"},
        "spec": {"ports": [{"port": 1, "protocol": "TCP"}, {"port": 2, "protocol": "TCP"}]},
    }
    config = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 3}, {"port": 2, "name": "x"}]}}
    made = applied(live, config, resource=SERVICE)
    ports = made["spec"]["ports"]
    assert [port["port"] for port in ports] == [3, 1, 2]
    assert ports[2] == {"port": 2, "protocol": "TCP", "name": "x"}


def test_two_items_of_one_key_are_refused() -> None:
    config = deployment(**template({"name": "a"}, {"name": "a"}))
    with pytest.raises(StatusError, match=r'duplicate entries for key \[name="a"\]') as caught:
        applied(None, config)
    assert caught.value.code == 400


def test_an_unmanaged_object_belongs_to_before_first_apply() -> None:
    live = {"metadata": {"name": "c"}, "data": {"a": "1", "b": "2"}}
    with pytest.raises(StatusError, match='conflict with "before-first-apply" using v1'):
        applied(live, {"metadata": {"name": "c"}, "data": {"a": "9"}}, resource=CONFIG_MAP)
    made = applied(live, {"metadata": {"name": "c"}, "data": {"a": "1"}}, resource=CONFIG_MAP)
    assert owned(made, "before-first-apply", "Update") == {".data.a", ".data.b"}


def test_status_and_spec_are_apart() -> None:
    config = {"metadata": {"name": "d"}, "spec": {"replicas": 1}, "status": {"replicas": 5}}
    made = applied(None, config)
    assert "status" not in made
    made = apply(DEPLOYMENT, made, config, manager="m", force=False, now=NOW, subresource="status")
    assert made["status"] == {"replicas": 5}
    assert [row.get("subresource") for row in made["metadata"]["managedFields"]] == [None, "status"]


def test_an_update_takes_fields_from_their_managers() -> None:
    made = applied(None, deployment(replicas=2, paused=True))
    new = copy_json(made)
    new["spec"]["replicas"] = 5
    track_update(DEPLOYMENT, made, new, manager="kubectl", now=LATER)
    assert owned(new, "m") == {".spec.paused"}
    assert owned(new, "kubectl", "Update") == {".spec.replicas"}
    with pytest.raises(StatusError, match='conflict with "kubectl" using apps/v1 at 2024-01-01T01'):
        applied(new, deployment(replicas=2))


def test_a_removed_field_has_no_manager() -> None:
    made = applied(None, deployment(replicas=2, paused=True))
    new = copy_json(made)
    del new["spec"]["paused"]
    track_update(DEPLOYMENT, made, new, manager="x", now=LATER)
    assert owned(new, "m") == {".spec.replicas"}


def test_an_update_without_change_changes_no_entry() -> None:
    made = applied(None, deployment(replicas=2))
    new = copy_json(made)
    del new["metadata"]["managedFields"]
    track_update(DEPLOYMENT, made, new, manager="x", now=LATER)
    assert new == made


@pytest.mark.parametrize("rows", [[], [{}]])
def test_a_client_may_clear_the_managers(rows: list[JsonObject]) -> None:
    made = applied(None, deployment(replicas=2))
    new = copy_json(made)
    new["metadata"]["managedFields"] = rows
    track_update(DEPLOYMENT, made, new, manager="x", now=NOW)
    assert "managedFields" not in new["metadata"]


def test_old_update_managers_are_folded() -> None:
    obj: JsonObject = {"metadata": {"name": "c"}, "data": {}}
    for index in range(UPDATE_MANAGERS_MAX + 5):
        new = copy_json(obj)
        new["data"][f"k{index}"] = "v"
        moment = NOW + timedelta(minutes=index)
        track_update(CONFIG_MAP, obj, new, manager=f"m{index}", now=moment)
        obj = new
    entries = read_entries(obj)
    assert len(entries) == UPDATE_MANAGERS_MAX
    ancient = next(entry for entry in entries if entry.manager == ANCIENT_CHANGES)
    assert {path_text(path) for path in ancient.fields} == {f".data.k{i}" for i in range(6)}
