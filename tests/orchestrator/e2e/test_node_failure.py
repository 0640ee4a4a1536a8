"""A node whose kubelet stops: NotReady, and its pods come back elsewhere."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.orchestrator.e2e.local_cluster import LocalCluster, eventually

pytestmark = pytest.mark.slow

MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: spread}
spec:
  replicas: 6
  selector: {matchLabels: {app: spread}}
  template:
    metadata: {labels: {app: spread}}
    spec:
      tolerations:
      - key: node.kubernetes.io/unreachable
        operator: Exists
        effect: NoExecute
        tolerationSeconds: 2
      containers:
      - {name: web, image: "localhost/hello:1"}
"""
NOT_READY_WITHIN_S = 60.0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    cluster = LocalCluster(tmp_path, "--runtime=hollow")
    cluster.up()
    yield cluster
    cluster.down()


def start_kubelet(cluster: LocalCluster, name: str) -> subprocess.Popen[bytes]:
    """A second node, as a process of its own."""
    with open(cluster.data_dir.parent / f"{name}.log", "wb") as log:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "orchestrator", "kubelet", f"--node-name={name}"),
                *(f"--kubeconfig={cluster.kubeconfig}", "--runtime=hollow"),
                f"--data-dir={cluster.data_dir.parent / name}",
            ],
            stdout=log,
            stderr=log,
        )


def is_ready(cluster: LocalCluster, node: str) -> bool:
    nodes = {n["metadata"]["name"]: n for n in cluster.items("nodes")}
    conditions = nodes.get(node, {}).get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def nodes_of(cluster: LocalCluster) -> list[str]:
    """The node of every pod that is Ready and stays."""
    ready = cluster.ready_pods("app=spread")
    return [
        pod["spec"]["nodeName"]
        for pod in cluster.items("pods", "-l", "app=spread")
        if pod["metadata"]["name"] in ready
    ]


def test_a_silent_node_is_not_ready_and_its_pods_are_replaced(cluster: LocalCluster) -> None:
    kubelet = start_kubelet(cluster, "second")
    try:
        eventually(lambda: is_ready(cluster, "second"), 20, "the second node is Ready")
        cluster.kubectl("apply", "-f", "-", stdin=MANIFEST)
        eventually(lambda: len(nodes_of(cluster)) == 6, 30, "six pods are ready")
        assert set(nodes_of(cluster)) == {"hollow-1", "second"}
    finally:
        kubelet.kill()
        kubelet.wait()
    stopped = time.monotonic()
    eventually(lambda: not is_ready(cluster, "second"), NOT_READY_WITHIN_S, "the node is NotReady")
    assert time.monotonic() - stopped < NOT_READY_WITHIN_S
    eventually(
        lambda: nodes_of(cluster) == ["hollow-1"] * 6,
        60,
        "all six are ready on the node that is left",
    )
