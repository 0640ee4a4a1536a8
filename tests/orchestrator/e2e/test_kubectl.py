"""Stock kubectl, as people type it, on hollow nodes."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.orchestrator.e2e.local_cluster import LocalCluster, eventually

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop, labels: {team: a}}
spec:
  replicas: 2
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      containers:
      - {name: web, image: "localhost/hello:1", ports: [{containerPort: 8080}]}
"""


@pytest.fixture
def cluster(hollow: LocalCluster, kubectl: str) -> Iterator[LocalCluster]:
    """The hollow cluster, a namespace of the test's own, and one kubectl."""
    hollow.kubectl_path = kubectl
    name = f"t{time.monotonic_ns()}"
    hollow.kubectl("create", "namespace", name)
    hollow.kubectl("config", "set-context", "orchestrator", f"--namespace={name}")
    yield hollow
    hollow.kubectl("config", "set-context", "orchestrator", "--namespace=default")
    hollow.kubectl("delete", "namespace", name)


def apply(cluster: LocalCluster, manifest: str = DEPLOYMENT) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=manifest)
    cluster.kubectl("rollout", "status", "deployment/shop", "--timeout=30s")


def test_apply_is_idempotent_and_changes_what_changed(cluster: LocalCluster) -> None:
    apply(cluster)
    again = cluster.kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    assert again.strip() == "deployment.apps/shop unchanged"
    changed = DEPLOYMENT.replace("replicas: 2", "replicas: 3")
    assert "configured" in cluster.kubectl("apply", "-f", "-", stdin=changed)
    eventually(lambda: len(cluster.ready_pods("app=shop")) == 3, 20, "three pods")


def test_server_side_apply_owns_fields_and_reports_conflicts(cluster: LocalCluster) -> None:
    cluster.kubectl("apply", "--server-side", "-f", "-", stdin=DEPLOYMENT)
    other = DEPLOYMENT.replace("replicas: 2", "replicas: 5")
    refused = cluster.run_kubectl(
        "apply", "--server-side", "--field-manager=other", "-f", "-", stdin=other
    )
    assert refused.returncode != 0
    assert 'conflict with "kubectl"' in refused.stderr
    assert ".spec.replicas" in refused.stderr


def test_tables_yaml_and_selectors(cluster: LocalCluster) -> None:
    apply(cluster)
    heads = cluster.kubectl("get", "deployments").splitlines()[0].split()
    assert heads == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    wide = cluster.kubectl("get", "pods", "-o", "wide").splitlines()
    assert wide[0].split()[:7] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE"]
    assert "1/1" in wide[1]
    assert "kind: Deployment" in cluster.kubectl("get", "deployment", "shop", "-o", "yaml")
    assert cluster.kubectl("get", "deployments", "-l", "team=a", "-o", "name").strip() == (
        "deployment.apps/shop"
    )
    assert cluster.kubectl("get", "deployments", "-l", "team!=a", "-o", "name") == ""
    running = cluster.items("pods", "--field-selector", "status.phase=Running")
    assert len(running) == 2


def test_watch_shows_what_happens(cluster: LocalCluster) -> None:
    process = subprocess.Popen(
        [
            cluster.kubectl_path,
            f"--kubeconfig={cluster.kubeconfig}",
            *("get", "configmaps", "-w", "--no-headers", "-o", "name"),
        ],
        stdout=subprocess.PIPE,
        text=True,
        env=cluster.environment(),
    )
    try:
        assert process.stdout is not None
        cluster.kubectl("create", "configmap", "seen", "--from-literal=a=b")
        lines = iter(process.stdout.readline, "")
        assert any(line.strip() == "configmap/seen" for line in lines)
    finally:
        process.terminate()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


def test_typed_commands_send_protobuf(cluster: LocalCluster) -> None:
    """kubectl's imperative creates have protobuf bodies."""
    cluster.kubectl("create", "configmap", "c", "--from-literal=key=value")
    cluster.kubectl("create", "secret", "generic", "s", "--from-literal=password=hunter2")
    cluster.kubectl("create", "deployment", "typed", "--image=localhost/hello:1", "--replicas=2")
    cluster.kubectl("create", "service", "clusterip", "svc", "--tcp=80:8080")
    assert cluster.get("configmap", "c")["data"] == {"key": "value"}
    assert cluster.get("secret", "s")["data"] == {"password": "aHVudGVyMg=="}
    cluster.kubectl("rollout", "status", "deployment/typed", "--timeout=30s")
    assert cluster.get("service", "svc")["spec"]["clusterIP"].startswith("10.96.")


def test_describe_names_events(cluster: LocalCluster) -> None:
    apply(cluster)
    told = cluster.kubectl("describe", "deployment", "shop")
    assert "ScalingReplicaSet" in told
    pod = cluster.ready_pods("app=shop")[0]
    eventually(
        lambda: "Successfully assigned" in cluster.kubectl("describe", "pod", pod), 10, "event"
    )


def test_scale(cluster: LocalCluster) -> None:
    apply(cluster)
    cluster.kubectl("scale", "deployment/shop", "--replicas=4")
    eventually(lambda: len(cluster.ready_pods("app=shop")) == 4, 20, "four pods")
    cluster.kubectl("scale", "deployment/shop", "--replicas=1")
    eventually(lambda: len(cluster.items("pods", "-l", "app=shop")) == 1, 20, "one pod")


def test_rollback(cluster: LocalCluster) -> None:
    apply(cluster)
    cluster.kubectl("set", "image", "deployment/shop", "web=localhost/hello:2")
    cluster.kubectl("rollout", "status", "deployment/shop", "--timeout=30s")
    assert len(cluster.kubectl("rollout", "history", "deployment/shop").strip().splitlines()) == 4
    cluster.kubectl("rollout", "undo", "deployment/shop")
    cluster.kubectl("rollout", "status", "deployment/shop", "--timeout=30s")
    image = cluster.get("deployment", "shop")["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == "localhost/hello:1"


def test_a_deleted_pod_is_replaced(cluster: LocalCluster) -> None:
    apply(cluster)
    before = set(cluster.ready_pods("app=shop"))
    cluster.kubectl("delete", "pod", sorted(before)[0])
    eventually(
        lambda: len(after := set(cluster.ready_pods("app=shop"))) == 2 and after != before,
        20,
        "a new pod",
    )


def test_delete_collects_what_it_owned(cluster: LocalCluster) -> None:
    apply(cluster)
    cluster.kubectl("delete", "deployment", "shop")
    eventually(
        lambda: not cluster.items("replicasets") and not cluster.items("pods"), 20, "nothing left"
    )


def test_errors_are_kubernetes_own(cluster: LocalCluster) -> None:
    missing = cluster.run_kubectl("get", "pod", "absent")
    assert missing.stderr.strip() == 'Error from server (NotFound): pods "absent" not found'
    unknown = DEPLOYMENT.replace("  replicas: 2", "  replicas: 2\n  replica: 2")
    strict = cluster.run_kubectl("apply", "-f", "-", stdin=unknown)
    assert 'unknown field "spec.replica"' in strict.stderr
    bad = DEPLOYMENT.replace('image: "localhost/hello:1", ', "")
    invalid = cluster.run_kubectl("apply", "-f", "-", stdin=bad)
    assert "spec.template.spec.containers[0].image: Required value" in invalid.stderr


def test_explain_and_discovery(cluster: LocalCluster) -> None:
    assert (
        "number of desired pods" in cluster.kubectl("explain", "deployment.spec.replicas").lower()
    )
    kinds = cluster.kubectl("api-resources", "-o", "name").split()
    assert {"pods", "deployments.apps", "endpointslices.discovery.k8s.io"} <= set(kinds)
    version = json.loads(cluster.kubectl("version", "-o", "json"))
    assert version["serverVersion"]["gitVersion"].startswith("v1.35.")
