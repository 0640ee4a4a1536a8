"""The same control plane on a real etcd: nothing in it knows what the store is made of."""

from __future__ import annotations

from pathlib import Path

from bench.cluster import Cluster, etcd_command
from tests.orchestrator.e2e.local_cluster import LocalCluster, eventually

MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "localhost/hello:1"}]}
"""


def test_a_deployment_runs_on_etcd(tmp_path: Path) -> None:
    with Cluster(etcd_command(), 1, tmp_path / "etcd") as etcd:
        servers = ",".join(f"http://{endpoint}" for endpoint in etcd.endpoints)
        cluster = LocalCluster(tmp_path, "--runtime=hollow", f"--etcd-servers={servers}")
        cluster.up()
        try:
            assert cluster.record()["etcd_endpoints"] == servers.split(",")
            assert not cluster.record()["children"]
            cluster.kubectl("apply", "-f", "-", stdin=MANIFEST)
            cluster.kubectl("rollout", "status", "deployment/web", "--timeout=30s")
            cluster.kubectl("delete", "deployment", "web")
            eventually(lambda: not cluster.items("pods"), 20, "its pods are gone")
        finally:
            cluster.down()
