"""Paths, Accept headers, options and settings are read as Kubernetes reads them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api.errors import StatusError
from orchestrator.api.json_object import JsonObject
from orchestrator.api.resources import CONFIG_MAP, POD, REPLICATION_CONTROLLER
from orchestrator.apiserver.authentication import ANONYMOUS, user_of
from orchestrator.apiserver.config import ApiServerConfig
from orchestrator.apiserver.continue_token import Position, decode, encode
from orchestrator.apiserver.deletion import plan_deletion
from orchestrator.apiserver.negotiation import Form, choose_output
from orchestrator.apiserver.request_context import DeleteOptions, delete_options
from orchestrator.apiserver.request_info import parse_request

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/api/v1/pods", ("", "pods", "", "", "", "list")),
        ("GET", "/api/v1/namespaces/a/pods/p", ("", "pods", "a", "p", "", "get")),
        ("POST", "/api/v1/namespaces/a/pods", ("", "pods", "a", "", "", "create")),
        ("GET", "/api/v1/namespaces/a/pods/p/log", ("", "pods", "a", "p", "log", "get")),
        ("GET", "/api/v1/namespaces/a", ("", "namespaces", "a", "a", "", "get")),
        ("PUT", "/api/v1/namespaces/a/status", ("", "namespaces", "a", "a", "status", "update")),
        ("DELETE", "/apis/g/v1/namespaces/a/ds/d", ("g", "ds", "a", "d", "", "delete")),
        ("DELETE", "/apis/g/v1/namespaces/a/ds", ("g", "ds", "a", "", "", "deletecollection")),
        ("GET", "/api/v1/watch/namespaces/a/pods", ("", "pods", "a", "", "", "watch")),
        ("PATCH", "/api/v1/nodes/n", ("", "nodes", "", "n", "", "patch")),
        ("TRACE", "/api/v1/nodes/n", ("", "nodes", "", "n", "", "")),
    ],
)
def test_paths(method: str, path: str, expected: tuple[str, ...]) -> None:
    info = parse_request(method, path, {})
    assert info is not None
    found = (info.group, info.plural, info.namespace, info.name, info.subresource, info.verb)
    assert found == expected


@pytest.mark.parametrize(
    "path", ["/", "/api", "/api/v1", "/apis/apps", "/apis/apps/v1", "/healthz", "/api/v1//x"]
)
def test_what_is_no_resource(path: str) -> None:
    assert parse_request("GET", path, {}) is None


@pytest.mark.parametrize(("value", "verb"), [("true", "watch"), ("1", "watch"), ("false", "list")])
def test_watch_is_a_parameter(value: str, verb: str) -> None:
    info = parse_request("GET", "/api/v1/pods", {"watch": value})
    assert info is not None
    assert info.verb == verb


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, Form.OBJECT),
        ("*/*", Form.OBJECT),
        ("application/vnd.kubernetes.protobuf,application/json", Form.OBJECT),
        ("application/json;stream=watch", Form.OBJECT),
        ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", Form.TABLE),
        ("application/json;q=0.1,application/json;as=Table;g=meta.k8s.io;v=v1", Form.TABLE),
        ("application/json;as=Table;v=v9;g=meta.k8s.io,application/json", Form.OBJECT),
        ("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", Form.PARTIAL),
    ],
)
def test_accept(accept: str | None, form: Form) -> None:
    assert choose_output(accept, single=True).form is form


def test_protobuf_alone_cannot_be_answered() -> None:
    with pytest.raises(StatusError) as refused:
        choose_output("application/vnd.kubernetes.protobuf", single=True)
    assert refused.value.code == 406


def test_tokens_survive_the_round_trip() -> None:
    position = Position(17, "default/näme\0")
    assert decode(encode(position)) == position


def test_the_body_of_a_delete_wins_over_the_query() -> None:
    body = {"gracePeriodSeconds": 3, "preconditions": {"uid": "u"}}
    query = {"gracePeriodSeconds": "9", "propagationPolicy": "Orphan", "dryRun": "All"}
    assert delete_options(body, query) == DeleteOptions(3, "Orphan", "u", None, True)
    with pytest.raises(StatusError):
        delete_options({"propagationPolicy": "Orphan", "orphanDependents": True}, {})


def obj(**metadata: Any) -> JsonObject:
    return {"metadata": {"name": "a", **metadata}, "spec": {"nodeName": "n"}}


def test_a_deletion_may_be_shortened_but_not_prolonged() -> None:
    first = plan_deletion(POD, obj(), DeleteOptions(grace_period_s=20), NOW)
    assert first is not None
    assert first["metadata"]["deletionTimestamp"] == "2026-01-01T00:00:20Z"
    longer = plan_deletion(POD, first, DeleteOptions(grace_period_s=60), NOW)
    assert longer is not None
    assert longer["metadata"]["deletionGracePeriodSeconds"] == 20
    shorter = plan_deletion(POD, longer, DeleteOptions(grace_period_s=5), NOW)
    assert shorter is not None
    assert shorter["metadata"]["deletionTimestamp"] == "2026-01-01T00:00:05Z"
    assert plan_deletion(POD, shorter, DeleteOptions(grace_period_s=0), NOW) is None


def test_the_oldest_controller_orphans_by_default() -> None:
    kept = plan_deletion(REPLICATION_CONTROLLER, obj(), DeleteOptions(), NOW)
    assert kept is not None
    assert kept["metadata"]["finalizers"] == ["orphan"]
    background = DeleteOptions(propagation="Background")
    assert plan_deletion(REPLICATION_CONTROLLER, obj(), background, NOW) is None
    assert plan_deletion(CONFIG_MAP, obj(), DeleteOptions(), NOW) is None


def test_users_are_read_from_certificates() -> None:
    subject = ((("organizationName", "g1"),), (("organizationName", "g2"),), (("commonName", "u"),))
    user = user_of({"subject": subject})
    assert (user.name, user.groups) == ("u", ("g1", "g2", "system:authenticated"))
    assert user_of(None) == user_of({"subject": ()}) == ANONYMOUS


def test_every_bad_setting_is_named() -> None:
    config = ApiServerConfig(
        data_dir=Path("x"),
        etcd_endpoints=(),
        port=-1,
        service_cidr="10.0.0.0/30",
        node_port_first=9,
        node_port_last=8,
    )
    with pytest.raises(ValueError, match="etcd_endpoints") as refused:
        config.validate()
    for word in ("port -1", "at least 16 addresses", "node ports 9-8"):
        assert word in str(refused.value)
