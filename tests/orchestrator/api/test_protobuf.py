"""Bodies of typed clients."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.decode import decode_delete_options, decode_object
from orchestrator.api.errors import StatusError
from orchestrator.api.json_object import JsonObject
from orchestrator.api.protobuf import MAGIC, decode_protobuf
from orchestrator.pb.kubernetes import (
    apps_pb2,
    authentication_pb2,
    coordination_pb2,
    core_pb2,
    meta_pb2,
    pod_pb2,
    policy_pb2,
)

TYPE = "application/vnd.kubernetes.protobuf"


def body(api_version: str, kind: str, message: Any) -> bytes:
    type_meta = meta_pb2.TypeMeta(apiVersion=api_version, kind=kind)
    raw = message.SerializeToString()
    return MAGIC + meta_pb2.Unknown(typeMeta=type_meta, raw=raw).SerializeToString()


def decode(api_version: str, kind: str, message: Any) -> JsonObject:
    obj = decode_protobuf(body(api_version, kind, message), "", "")
    assert (obj.pop("apiVersion"), obj.pop("kind")) == (api_version, kind)
    return obj


def test_empty_fields_that_go_always_sends_are_dropped() -> None:
    pod = pod_pb2.Pod()
    pod.metadata.name = "p"
    pod.metadata.namespace = ""
    pod.metadata.generation = 0
    pod.metadata.creationTimestamp.SetInParent()
    container = pod.spec.containers.add(name="a", image="i", stdin=False)
    container.resources.SetInParent()
    pod.status.phase = ""
    assert decode("v1", "Pod", pod) == {
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "a", "image": "i"}]},
    }


def test_empty_fields_that_are_pointers_are_kept() -> None:
    deployment = apps_pb2.Deployment()
    deployment.spec.replicas = 0
    volume = deployment.spec.template.spec.volumes.add(name="v")
    volume.volumeSource.emptyDir.SetInParent()
    deployment.spec.template.spec.automountServiceAccountToken = False
    assert decode("apps/v1", "Deployment", deployment)["spec"] == {
        "replicas": 0,
        "template": {
            "spec": {
                "volumes": [{"name": "v", "emptyDir": {}}],
                "automountServiceAccountToken": False,
            }
        },
    }


def test_special_types() -> None:
    pod = pod_pb2.Pod()
    container = pod.spec.containers.add(name="a")
    container.resources.limits["cpu"].string = "500m"
    container.livenessProbe.handler.httpGet.port.type = 1
    container.livenessProbe.handler.httpGet.port.strVal = "http"
    container.readinessProbe.handler.tcpSocket.port.intVal = 80
    variable = container.env.add(name="E")
    variable.valueFrom.secretKeyRef.localObjectReference.name = "s"
    variable.valueFrom.secretKeyRef.key = "k"
    pod.status.startTime.seconds = 1
    entry = pod.metadata.managedFields.add(manager="m")
    entry.fieldsV1.Raw = b'{"f:spec":{}}'
    made = decode("v1", "Pod", pod)
    (row,) = made["spec"]["containers"]
    assert row["resources"] == {"limits": {"cpu": "500m"}}
    assert row["livenessProbe"] == {"httpGet": {"port": "http"}}
    assert row["readinessProbe"] == {"tcpSocket": {"port": 80}}
    assert row["env"][0]["valueFrom"] == {"secretKeyRef": {"name": "s", "key": "k"}}
    assert made["status"] == {"startTime": "1970-01-01T00:00:01Z"}
    assert made["metadata"]["managedFields"] == [{"manager": "m", "fieldsV1": {"f:spec": {}}}]


def test_bytes_maps_and_micro_times() -> None:
    secret = core_pb2.Secret(type="Opaque")
    secret.data["a"] = b"\x00\xff"
    secret.stringData["b"] = ""
    assert decode("v1", "Secret", secret) == {
        "type": "Opaque",
        "data": {"a": "AP8="},
        "stringData": {"b": ""},
    }
    lease = coordination_pb2.Lease()
    lease.spec.renewTime.seconds = 1
    lease.spec.renewTime.nanos = 5_000
    renewed = decode("coordination.k8s.io/v1", "Lease", lease)["spec"]["renewTime"]
    assert renewed == "1970-01-01T00:00:01.000005Z"


def test_names_that_differ_in_json() -> None:
    request = authentication_pb2.TokenRequest()
    request.spec.boundObjectRef.uID = "u"
    spec = decode("authentication.k8s.io/v1", "TokenRequest", request)["spec"]
    assert spec == {"boundObjectRef": {"uid": "u"}}


def test_options_and_evictions() -> None:
    options = meta_pb2.DeleteOptions(gracePeriodSeconds=0, propagationPolicy="Background")
    made = decode_delete_options(body("apps/v1", "DeleteOptions", options), TYPE)
    assert made["gracePeriodSeconds"] == 0
    assert made["propagationPolicy"] == "Background"
    eviction = policy_pb2.Eviction()
    eviction.deleteOptions.preconditions.uid = "u"
    assert decode("policy/v1", "Eviction", eviction) == {
        "deleteOptions": {"preconditions": {"uid": "u"}}
    }


def test_bodies_pass_the_checks_of_json_bodies() -> None:
    config_map = core_pb2.ConfigMap()
    config_map.metadata.name = "c"
    data = body("v1", "ConfigMap", config_map)
    made = decode_object(data, TYPE, "v1", "ConfigMap", "Strict")
    assert made.obj["metadata"] == {"name": "c"}
    with pytest.raises(StatusError, match="does not match the expected kind"):
        decode_object(data, TYPE, "v1", "Secret")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        MAGIC + b"\xff",
        body("v1", "Nonsense", meta_pb2.Status()),
        body("example.com/v1", "Thing", meta_pb2.Status()),
        MAGIC
        + meta_pb2.Unknown(
            typeMeta=meta_pb2.TypeMeta(apiVersion="v1", kind="Pod"), raw=b"\x0a\xff"
        ).SerializeToString(),
    ],
)
def test_malformed_bodies_are_400(data: bytes) -> None:
    with pytest.raises(StatusError) as caught:
        decode_protobuf(data, "", "")
    assert caught.value.code == 400


def test_fields_of_messages_are_fields_of_the_schemas() -> None:
    """A name that the schemas lack would be dropped silently on every write."""
    from orchestrator.api.protobuf import _fields, _message_class
    from orchestrator.api.resources import BUILT_IN
    from orchestrator.api.schema import SchemaNode, schema_of

    seen: set[str] = set()

    def check(descriptor: Any, node: SchemaNode) -> None:
        if descriptor.full_name in seen or not node.fields:
            return
        seen.add(descriptor.full_name)
        for number, field in _fields(descriptor).items():
            message = descriptor.fields_by_number[number].message_type
            if field.inline:
                check(message, node)
                continue
            assert field.name in node.fields, f"{descriptor.full_name}.{field.name}"
            if message is not None and not field.is_map:
                below = node.fields[field.name]
                check(message, below.items if field.is_repeated else below)

    for row in BUILT_IN:
        made = _message_class(row.group_version, row.kind)
        schema = schema_of(row.group_version, row.kind)
        assert made is not None, row.kind
        assert schema is not None
        check(made.DESCRIPTOR, schema)
    assert len(seen) > 150
