"""Defaults, immutability and validation, kind by kind."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.api import resources
from orchestrator.api.json_object import JsonObject, copy_json
from orchestrator.api.object_meta import begin_object, generate_name, keep_system_metadata
from orchestrator.api.resource import Resource
from orchestrator.api.scale import to_scale, with_scale

NOW = datetime(2024, 1, 1, tzinfo=UTC)


def created(resource: Resource, obj: JsonObject) -> JsonObject:
    """Pass an object through the engine's steps of a create, validation aside."""
    obj = {"apiVersion": resource.group_version, "kind": resource.kind, **copy_json(obj)}
    namespace = "default" if resource.namespaced else ""
    begin_object(obj, namespace=namespace, uid="u1", now=NOW, random=random.Random(1))
    resource.strategy.default(obj)
    resource.strategy.prepare_for_create(obj)
    return obj


def faults(resource: Resource, obj: JsonObject) -> list[str]:
    return [str(error) for error in resource.strategy.validate(created(resource, obj))]


def updated(resource: Resource, old: JsonObject, new: JsonObject) -> JsonObject:
    new = copy_json(new)
    keep_system_metadata(new, old)
    resource.strategy.default(new)
    resource.strategy.prepare_for_update(new, old)
    return new


def update_faults(resource: Resource, old: JsonObject, new: JsonObject) -> list[str]:
    new = updated(resource, old, new)
    return [str(error) for error in resource.strategy.validate_update(new, old)]


def named(**fields: Any) -> JsonObject:
    return {"metadata": {"name": "x"}, **fields}


def changed(obj: JsonObject, path: str, value: Any) -> JsonObject:
    """A copy of `obj` with another value at a dotted path of keys and indexes."""
    made: JsonObject = copy_json(obj)
    holder: Any = made
    *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    for step in steps:
        holder = holder[step]
    holder[last] = value
    return made


POD_SPEC = {"containers": [{"name": "a", "image": "busybox"}]}
POD = named(spec=POD_SPEC)
TEMPLATE = {"metadata": {"labels": {"app": "x"}}, "spec": POD_SPEC}
WORKLOAD = named(spec={"selector": {"matchLabels": {"app": "x"}}, "template": TEMPLATE})
SERVICE = named(spec={"ports": [{"port": 80}], "selector": {"app": "x"}})


def test_generated_names_are_cut_and_drawn_from_the_alphabet() -> None:
    name = generate_name("b" * 80, random.Random(7))
    assert len(name) == 63
    assert set(name[58:]) <= set("bcdfghjklmnpqrstvwxz2456789")
    pod = created(resources.POD, {"metadata": {"generateName": "p-"}, "spec": POD_SPEC})
    assert pod["metadata"]["name"].startswith("p-")
    assert pod["metadata"]["creationTimestamp"] == "2024-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("metadata", "fault"),
    [
        ({}, "metadata.name: Required value: name or generateName is required"),
        ({"name": "A"}, 'metadata.name: Invalid value: "A": a lowercase RFC 1123 subdomain'),
        ({"name": "x", "labels": {"a b": "c"}}, 'metadata.labels: Invalid value: "a b": name part'),
        ({"name": "x", "labels": {"a": "-"}}, 'metadata.labels: Invalid value: "-": a valid label'),
        (
            {"name": "x", "annotations": {"a": "b" * 262144}},
            "metadata.annotations: Too long: may not be more than 262144 bytes",
        ),
        (
            {"name": "x", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]},
            'metadata.ownerReferences[0].uid: Invalid value: "": uid must not be empty',
        ),
    ],
)
def test_metadata(metadata: JsonObject, fault: str) -> None:
    (text,) = faults(resources.CONFIG_MAP, {"metadata": metadata})
    assert text.startswith(fault)


def test_cluster_scoped_kinds_refuse_a_namespace() -> None:
    text = "metadata.namespace: Forbidden: not allowed on this type"
    assert faults(resources.NODE, {"metadata": {"name": "n", "namespace": "d"}}) == [text]


def test_pod_defaults() -> None:
    spec = {
        "containers": [
            {
                "name": "a",
                "image": "repo:5000/busybox:1.2",
                "ports": [{"containerPort": 80}],
                "readinessProbe": {"httpGet": {"port": 80}},
                "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
                "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            },
            {"name": "b", "image": "repo:5000/busybox"},
        ],
        "volumes": [{"name": "v"}, {"name": "c", "configMap": {"name": "c"}}],
    }
    pod = created(resources.POD, named(spec=spec))
    a, b = pod["spec"]["containers"]
    assert a["imagePullPolicy"] == "IfNotPresent"
    assert b["imagePullPolicy"] == "Always"
    assert a["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    assert a["readinessProbe"] == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    assert a["resources"]["requests"] == {"cpu": "1", "memory": "1Gi"}
    assert a["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] == "v1"
    assert a["terminationMessagePath"] == "/dev/termination-log"
    assert pod["spec"]["volumes"] == [
        {"name": "v", "emptyDir": {}},
        {"name": "c", "configMap": {"name": "c", "defaultMode": 420}},
    ]
    for key, value in {
        "restartPolicy": "Always",
        "dnsPolicy": "ClusterFirst",
        "terminationGracePeriodSeconds": 30,
        "schedulerName": "default-scheduler",
        "enableServiceLinks": True,
    }.items():
        assert pod["spec"][key] == value
    assert pod["status"] == {"phase": "Pending", "qosClass": "Burstable"}
    assert pod["metadata"]["generation"] == 1


@pytest.mark.parametrize(
    ("resources_", "expected"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}, "Burstable"),
    ],
)
def test_quality_of_service(resources_: JsonObject, expected: str) -> None:
    pod = changed(POD, "spec.containers.0.resources", resources_)
    assert created(resources.POD, pod)["status"]["qosClass"] == expected


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        ("spec.containers", [], "spec.containers: Required value"),
        ("spec.containers.0.image", "", "spec.containers[0].image: Required value"),
        ("spec.containers.0.name", "A_", 'spec.containers[0].name: Invalid value: "A_"'),
        (
            "spec.containers",
            [{"name": "a", "image": "x"}, {"name": "a", "image": "x"}],
            'spec.containers[1].name: Duplicate value: "a"',
        ),
        (
            "spec.restartPolicy",
            "Sometimes",
            'spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", '
            '"Never", "OnFailure"',
        ),
        (
            "spec.containers.0.volumeMounts",
            [{"name": "v", "mountPath": "/v"}],
            'spec.containers[0].volumeMounts[0].name: Not found: "v"',
        ),
        (
            "spec.containers.0.resources",
            {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}},
            'spec.containers[0].resources.requests: Invalid value: "2": must be less than or '
            "equal to cpu limit of 1",
        ),
        (
            "spec.containers.0.ports",
            [{"containerPort": 70000}],
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between",
        ),
        (
            "spec.tolerations",
            [{"key": "k", "operator": "Exists", "tolerationSeconds": 5}],
            'spec.tolerations[0].effect: Invalid value: "": effect must be',
        ),
        ("spec.nodeSelector", {"a": "b c"}, 'spec.nodeSelector: Invalid value: "b c"'),
        ("spec.containers.0.livenessProbe", {}, "spec.containers[0].livenessProbe: Required value"),
        ("spec.volumes", [{"name": "s", "secret": {}}], "spec.volumes[0].secret.secretName: Req"),
        ("spec.activeDeadlineSeconds", 0, "spec.activeDeadlineSeconds: Invalid value: 0"),
    ],
)
def test_invalid_pods(path: str, value: Any, fault: str) -> None:
    (text,) = faults(resources.POD, changed(POD, path, value))
    assert text.startswith(fault)


@pytest.mark.parametrize(
    ("path", "value", "allowed"),
    [
        ("spec.containers.0.image", "other", True),
        ("spec.activeDeadlineSeconds", 5, True),
        ("spec.tolerations", [{"key": "a", "operator": "Exists"}], True),
        ("metadata.labels", {"a": "b"}, True),
        ("spec.containers.0.command", ["x"], False),
        ("spec.nodeName", "n", False),
        ("spec.terminationGracePeriodSeconds", 5, False),
        ("spec.containers.0.resources", {"limits": {"cpu": "1"}}, False),
    ],
)
def test_what_an_update_of_a_pod_may_change(path: str, value: Any, allowed: bool) -> None:
    old = created(resources.POD, POD)
    texts = update_faults(resources.POD, old, changed(old, path, value))
    assert (texts == []) is allowed
    assert all("pod updates may not change fields other than" in text for text in texts)


def test_tolerations_may_not_be_taken_away() -> None:
    old = created(
        resources.POD, changed(POD, "spec.tolerations", [{"key": "a", "operator": "Exists"}])
    )
    assert update_faults(resources.POD, old, changed(old, "spec.tolerations", []))


def test_grace_of_pods() -> None:
    grace = resources.POD.strategy.grace_period_s
    pod = created(resources.POD, POD)
    assert grace(pod, None) == 0, "nobody runs it"
    pod["spec"]["nodeName"] = "n"
    assert grace(pod, None) == 30
    assert grace(pod, 5) == 5
    assert grace(pod, 0) == 0
    assert grace(pod, -1) == 1
    pod["status"]["phase"] = "Succeeded"
    assert grace(pod, None) == 0
    assert resources.CONFIG_MAP.strategy.grace_period_s(pod, 30) == 0


def test_deployment_defaults() -> None:
    spec = created(resources.DEPLOYMENT, WORKLOAD)["spec"]
    assert spec["replicas"] == 1
    assert spec["revisionHistoryLimit"] == 10
    assert spec["progressDeadlineSeconds"] == 600
    assert spec["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"},
    }
    assert spec["template"]["spec"]["restartPolicy"] == "Always"


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        ("spec.replicas", -1, "spec.replicas: Invalid value: -1: must be greater than or equal"),
        ("spec.selector", None, "spec.selector: Required value"),
        ("spec.selector", {}, "spec.selector: Invalid value: {}: empty selector is invalid for"),
        (
            "spec.selector.matchLabels",
            {"app": "y"},
            'spec.template.metadata.labels: Invalid value: {"app":"x"}: `selector` does not match',
        ),
        (
            "spec.template.spec.restartPolicy",
            "Never",
            'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Alw',
        ),
        (
            "spec.strategy",
            {"type": "Recreate", "rollingUpdate": {}},
            "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type`",
        ),
        (
            "spec.strategy",
            {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": "0%"}},
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when",
        ),
        (
            "spec.strategy",
            {"rollingUpdate": {"maxSurge": "x"}},
            'spec.strategy.rollingUpdate.maxSurge: Invalid value: "x": a valid percent string',
        ),
    ],
)
def test_invalid_deployments(path: str, value: Any, fault: str) -> None:
    (text,) = faults(resources.DEPLOYMENT, changed(WORKLOAD, path, value))
    assert text.startswith(fault)


def test_generation_follows_the_spec_and_the_status_stays() -> None:
    old = created(resources.DEPLOYMENT, WORKLOAD)
    old["status"] = {"replicas": 1}
    same = updated(resources.DEPLOYMENT, old, {**old, "status": {"replicas": 9}})
    assert same["metadata"]["generation"] == 1
    assert same["status"] == {"replicas": 1}
    more = updated(resources.DEPLOYMENT, old, changed(old, "spec.replicas", 2))
    assert more["metadata"]["generation"] == 2
    noted = updated(resources.DEPLOYMENT, old, changed(old, "metadata.annotations", {"a": "b"}))
    assert noted["metadata"]["generation"] == 2


def test_a_status_update_leaves_the_spec() -> None:
    old = created(resources.DEPLOYMENT, WORKLOAD)
    new = changed(old, "spec.replicas", 7)
    new["status"] = {"replicas": 3}
    resources.DEPLOYMENT.strategy.prepare_status_update(new, old)
    assert new["spec"] == old["spec"]
    assert new["status"] == {"replicas": 3}
    assert new["metadata"]["generation"] == 1


@pytest.mark.parametrize(
    "resource", [resources.DEPLOYMENT, resources.REPLICA_SET, resources.DAEMON_SET]
)
def test_selectors_of_workloads_never_change(resource: Resource) -> None:
    old = created(resource, WORKLOAD)
    new = changed(old, "spec.selector.matchLabels", {"app": "x", "b": "c"})
    new["spec"]["template"]["metadata"]["labels"]["b"] = "c"
    (text,) = update_faults(resource, old, new)
    assert text.startswith("spec.selector: Invalid value: ")
    assert text.endswith(": field is immutable")


def test_replication_controllers_take_their_selector_from_the_template() -> None:
    made = created(resources.REPLICATION_CONTROLLER, named(spec={"template": TEMPLATE}))
    assert made["spec"]["selector"] == {"app": "x"}
    assert made["metadata"]["labels"] == {"app": "x"}
    assert resources.REPLICATION_CONTROLLER.strategy.validate(made) == []


def test_daemon_set_defaults() -> None:
    made = created(resources.DAEMON_SET, WORKLOAD)
    assert made["spec"]["updateStrategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0},
    }
    assert resources.DAEMON_SET.strategy.validate(made) == []


def test_service_defaults() -> None:
    made = created(resources.SERVICE, SERVICE)
    assert made["spec"] == {
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        "selector": {"app": "x"},
        "type": "ClusterIP",
        "sessionAffinity": "None",
        "internalTrafficPolicy": "Cluster",
        "ipFamilyPolicy": "SingleStack",
        "ipFamilies": ["IPv4"],
    }
    assert made["status"] == {"loadBalancer": {}}


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        ("spec.ports", [], "spec.ports: Required value"),
        ("metadata.name", "1x", 'metadata.name: Invalid value: "1x": a DNS-1035 label'),
        ("spec.type", "X", 'spec.type: Unsupported value: "X": supported values: "ClusterIP"'),
        ("spec.ports.0.nodePort", 30000, "spec.ports[0].nodePort: Forbidden: may not be used when"),
        ("spec.ports.0.port", 0, "spec.ports[0].port: Invalid value: 0: must be between 1 and"),
        ("spec.clusterIP", "a", 'spec.clusterIPs[0]: Invalid value: "a": must be a valid IP'),
    ],
)
def test_invalid_services(path: str, value: Any, fault: str) -> None:
    assert any(
        text.startswith(fault) for text in faults(resources.SERVICE, changed(SERVICE, path, value))
    )


def test_headless_services_need_no_ports_and_external_names_no_address() -> None:
    assert faults(resources.SERVICE, named(spec={"clusterIP": "None"})) == []
    external = named(spec={"type": "ExternalName", "externalName": "a.example.com"})
    assert faults(resources.SERVICE, external) == []
    assert "internalTrafficPolicy" not in created(resources.SERVICE, external)["spec"]


def test_an_update_keeps_what_was_allocated() -> None:
    old = created(resources.SERVICE, changed(SERVICE, "spec.type", "NodePort"))
    old["spec"] |= {"clusterIP": "10.0.0.5", "clusterIPs": ["10.0.0.5"]}
    old["spec"]["ports"][0]["nodePort"] = 30123
    new = updated(resources.SERVICE, old, changed(SERVICE, "spec.type", "NodePort"))
    assert new["spec"]["clusterIPs"] == ["10.0.0.5"]
    assert new["spec"]["ports"][0]["nodePort"] == 30123
    back = updated(resources.SERVICE, old, changed(old, "spec.type", "ClusterIP"))
    assert "nodePort" not in back["spec"]["ports"][0]
    moved = changed(old, "spec.clusterIP", "10.0.0.6")
    moved["spec"]["clusterIPs"] = ["10.0.0.6"]
    (text,) = update_faults(resources.SERVICE, old, moved)
    assert text == 'spec.clusterIPs[0]: Invalid value: ["10.0.0.6"]: may not change once set'


def test_namespaces() -> None:
    made = created(resources.NAMESPACE, named())
    assert made["metadata"]["labels"] == {"kubernetes.io/metadata.name": "x"}
    assert made["spec"] == {"finalizers": ["kubernetes"]}
    assert made["status"] == {"phase": "Active"}
    strategy = resources.NAMESPACE.strategy
    assert strategy.holds_deletion(made)
    strategy.begin_deletion(made)
    assert made["status"]["phase"] == "Terminating"
    done = strategy.prepare_finalize({"spec": {}}, made)  # type: ignore[attr-defined]
    assert not strategy.holds_deletion(done)
    assert faults(resources.NAMESPACE, {"metadata": {"name": "a.b"}})


def test_secrets() -> None:
    made = created(resources.SECRET, named(data={"a": "MQ=="}, stringData={"b": "2"}))
    assert made["type"] == "Opaque"
    assert made["data"] == {"a": "MQ==", "b": "Mg=="}
    assert "stringData" not in made
    assert faults(resources.SECRET, named(type="kubernetes.io/tls")) == [
        "data[tls.crt]: Required value",
        "data[tls.key]: Required value",
    ]
    assert update_faults(resources.SECRET, made, {**made, "type": "other"}) == [
        'type: Invalid value: "other": field is immutable'
    ]


def test_immutable_data_stays() -> None:
    old = created(resources.CONFIG_MAP, named(data={"a": "1"}, immutable=True))
    text = "Forbidden: field is immutable when `immutable` is set"
    assert update_faults(resources.CONFIG_MAP, old, {**old, "data": {"a": "2"}}) == [
        f"data: {text}"
    ]
    assert update_faults(resources.CONFIG_MAP, old, {**old, "immutable": False}) == [
        f"immutable: {text}"
    ]
    assert (
        update_faults(resources.CONFIG_MAP, old, changed(old, "metadata.labels", {"a": "b"})) == []
    )


@pytest.mark.parametrize(
    ("obj", "fault"),
    [
        (named(data={"a/b": "x"}), 'data[a/b]: Invalid value: "a/b": a valid config key'),
        (named(data={"a": "x" * 1048577}), ": Too long: may not be more than 1048576 bytes"),
        (
            named(data={"a": "x"}, binaryData={"a": "eA=="}),
            'data[a]: Invalid value: "a": duplicate of key present in binaryData',
        ),
    ],
)
def test_invalid_config_maps(obj: JsonObject, fault: str) -> None:
    (text,) = faults(resources.CONFIG_MAP, obj)
    assert text.startswith(fault)


def test_no_finalizer_is_added_to_what_goes() -> None:
    old = created(resources.CONFIG_MAP, named())
    old["metadata"] |= {"deletionTimestamp": "2024-01-01T00:00:00Z", "finalizers": ["a.b/c"]}
    (text,) = update_faults(
        resources.CONFIG_MAP, old, changed(old, "metadata.finalizers", ["a.b/c", "d.e/f"])
    )
    assert text == (
        "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being "
        'deleted, found new finalizers []string{"d.e/f"}'
    )
    assert update_faults(resources.CONFIG_MAP, old, changed(old, "metadata.finalizers", [])) == []


def test_nodes_keep_the_status_they_register_with() -> None:
    node = created(resources.NODE, named(status={"capacity": {"cpu": "2"}}))
    assert node["status"] == {"capacity": {"cpu": "2"}, "allocatable": {"cpu": "2"}}
    old = changed(node, "spec", {"podCIDR": "10.0.0.0/24"})
    (text,) = update_faults(resources.NODE, old, changed(old, "spec.podCIDR", "10.0.1.0/24"))
    assert text.startswith("spec.podCIDR: Forbidden")
    taints = [{"key": "a", "effect": "Never"}]
    (text,) = faults(resources.NODE, named(spec={"taints": taints}))
    assert text.startswith('spec.taints[0].effect: Unsupported value: "Never"')


def test_leases_events_and_slices() -> None:
    assert not resources.LEASE.strategy.allow_unconditional_update
    assert resources.LEASE.strategy.allow_create_on_update
    assert faults(resources.LEASE, named(spec={"leaseDurationSeconds": 0}))
    assert faults(resources.EVENT, named(involvedObject={"namespace": "other"}))
    assert faults(resources.EVENT, named(involvedObject={"namespace": "default"})) == []
    assert faults(resources.ENDPOINT_SLICE, named(addressType="IPv4")) == []
    (text,) = faults(
        resources.ENDPOINT_SLICE,
        named(addressType="IPv4", endpoints=[{"addresses": ["x"]}]),
    )
    assert text.startswith('endpoints[0].addresses[0]: Invalid value: "x"')


def test_events_have_two_spellings_of_one_stored_object() -> None:
    strategy = resources.EVENTS_GROUP_EVENT.strategy
    seen = {"apiVersion": "events.k8s.io/v1", "kind": "Event", "regarding": {}, "note": "n"}
    stored = strategy.to_storage(seen)
    assert stored == {"apiVersion": "v1", "kind": "Event", "involvedObject": {}, "message": "n"}
    assert strategy.from_storage(stored) == seen


def test_scale() -> None:
    made = created(resources.DEPLOYMENT, changed(WORKLOAD, "spec.replicas", 3))
    made["status"] = {"replicas": 2}
    scale = to_scale(resources.DEPLOYMENT, made)
    assert scale["spec"] == {"replicas": 3}
    assert scale["status"] == {"replicas": 2, "selector": "app=x"}
    scaled = with_scale(resources.DEPLOYMENT, made, {"spec": {"replicas": 5}})
    assert scaled["spec"]["replicas"] == 5
    assert made["spec"]["replicas"] == 3
    controller = created(resources.REPLICATION_CONTROLLER, named(spec={"template": TEMPLATE}))
    assert to_scale(resources.REPLICATION_CONTROLLER, controller)["status"]["selector"] == "app=x"
