"""The resource table and the documents made of it."""

from __future__ import annotations

import gzip
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api import openapi, resources
from orchestrator.api.resource import Registry, Resource
from orchestrator.api.resources import BUILT_IN
from orchestrator.api.schema import SchemaType, schema_of

REGISTRY = Registry(BUILT_IN)


def test_paths_and_keys() -> None:
    assert resources.POD.path("ns", "p", "log") == "/api/v1/namespaces/ns/pods/p/log"
    assert resources.POD.path() == "/api/v1/pods"
    assert resources.NODE.path("", "n") == "/api/v1/nodes/n"
    assert resources.DEPLOYMENT.path("ns") == "/apis/apps/v1/namespaces/ns/deployments"
    assert resources.NODE.storage_key("", "n") == "minions/n"
    assert resources.SERVICE.storage_key("ns", "s") == "services/specs/ns/s"
    assert resources.ENDPOINTS.storage_key("ns") == "services/endpoints/ns/"
    assert resources.REPLICATION_CONTROLLER.storage_key() == "controllers/"


def test_the_registry_finds_rows_by_plural_and_by_kind() -> None:
    assert REGISTRY.get("apps", "v1", "deployments") is resources.DEPLOYMENT
    assert REGISTRY.by_kind("apps/v1", "Deployment") is resources.DEPLOYMENT
    assert REGISTRY.get("apps", "v1beta1", "deployments") is None
    assert REGISTRY.preferred_version("apps") == "v1"
    assert next(iter(REGISTRY.groups())) == ""


def test_a_row_may_come_and_go() -> None:
    registry = Registry()
    thing = Resource("example.com", "v1", "Thing", "things")
    registry.add(thing)
    with pytest.raises(ValueError, match="registered already"):
        registry.add(thing)
    registry.remove(thing)
    assert len(registry) == 0


@pytest.mark.parametrize("row", BUILT_IN, ids=lambda row: f"{row.group}.{row.kind}")
def test_every_row_fits_its_schema(row: Resource) -> None:
    schema = schema_of(row.group_version, row.kind)
    assert schema is not None
    assert row.namespaced is row.strategy.namespaced
    assert not row.has_status or "status" in schema.fields
    assert row.has_scale is (row.strategy.scale is not None)
    assert set(row.strategy.status_fields) <= schema.fields.keys()
    assert not row.stored or schema_of(row.group_version, row.list_kind) is not None


def test_merge_rules_come_with_the_schemas() -> None:
    pod = schema_of("v1", "Pod")
    assert pod is not None
    containers = pod.fields["spec"].fields["containers"]
    assert containers.patch_merge_key == "name"
    assert containers.list_map_keys == ("name",)
    assert containers.items.fields["ports"].list_map_keys == ("containerPort", "protocol")
    limits = containers.items.fields["resources"].fields["limits"]
    assert limits.type is SchemaType.MAP
    assert limits.items.type is SchemaType.QUANTITY


def test_openapi_documents_have_what_kubectl_looks_for() -> None:
    index = openapi.index(REGISTRY)["paths"]
    assert set(index) >= {"api/v1", "apis/apps/v1"}
    data, digest = openapi.document(REGISTRY, "apps/v1")
    url = index["apis/apps/v1"]["serverRelativeURL"]
    assert url == f"/openapi/v3/apis/apps/v1?hash={digest}"
    document = json.loads(data)
    path = "/apis/apps/v1/namespaces/{namespace}/deployments/{name}"
    patch = document["paths"][path]["patch"]
    assert patch["x-kubernetes-group-version-kind"] == {
        "group": "apps",
        "version": "v1",
        "kind": "Deployment",
    }
    assert "fieldValidation" in [parameter["name"] for parameter in patch["parameters"]]
    assert "application/apply-patch+yaml" in patch["requestBody"]["content"]
    schemas = document["components"]["schemas"]
    rows = schemas["io.k8s.api.apps.v1.Deployment"]["x-kubernetes-group-version-kind"]
    assert rows == [{"group": "apps", "kind": "Deployment", "version": "v1"}]


def test_openapi_documents_are_closed() -> None:
    """No reference leads out of its document."""
    for group_version in REGISTRY.group_versions():
        document = json.loads(openapi.document(REGISTRY, group_version)[0])
        schemas = document["components"]["schemas"]

        def check(value: Any, schemas: Any = schemas) -> None:
            if isinstance(value, dict):
                ref = value.get("$ref")
                if isinstance(ref, str):
                    assert ref.removeprefix("#/components/schemas/") in schemas
                for below in value.values():
                    check(below)
            elif isinstance(value, list):
                for below in value:
                    check(below)

        check(document)
    with pytest.raises(KeyError):
        openapi.document(REGISTRY, "example.com/v1")


def test_the_schema_tool_makes_the_same_bytes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(__file__).parents[3]
    spec = importlib.util.spec_from_file_location("tool", root / "tools/kubernetes_schemas.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    target = tmp_path / "made.json.gz"
    monkeypatch.setattr(tool, "TARGET", target)
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    tool.main()
    built = root / "orchestrator/api/schemas" / f"{tool.VERSION}.json.gz"
    assert target.read_bytes() == built.read_bytes()
    assert b"null" not in gzip.decompress(target.read_bytes())[:100]
