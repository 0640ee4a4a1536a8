"""Stock kubectl, the system's and the newest, against the API server alone."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.orchestrator.apiserver.conftest import Kubectl

pytestmark = pytest.mark.slow

CONFIG_MAP = """
apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
  labels: {tier: front}
data:
  colour: blue
"""

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: hello:1
        ports: [{containerPort: 8080}]
"""


async def read(kubectl: Kubectl, *what: str) -> Any:
    return json.loads(await kubectl("get", *what, "-o", "json"))


async def test_apply_get_and_delete(kubectl: Kubectl) -> None:
    assert await kubectl("apply", "-f", "-", stdin=CONFIG_MAP) == "configmap/settings created\n"
    assert await kubectl("apply", "-f", "-", stdin=CONFIG_MAP) == "configmap/settings unchanged\n"
    changed = CONFIG_MAP.replace("blue", "red")
    code, diff, _ = await kubectl.run("diff", "-f", "-", stdin=changed)
    assert code == 1
    assert "+  colour: red" in diff
    assert await kubectl("apply", "-f", "-", stdin=changed) == "configmap/settings configured\n"
    header, row = (await kubectl("get", "configmap")).splitlines()
    assert header.split() == ["NAME", "DATA", "AGE"]
    assert row.split()[:2] == ["settings", "1"]
    assert "colour: red" in await kubectl("get", "cm", "settings", "-o", "yaml")
    assert "tier=front" in await kubectl("get", "cm", "--show-labels")
    assert await kubectl("get", "cm", "-l", "tier=front", "-o", "name") == "configmap/settings\n"
    assert await kubectl("get", "cm", "-l", "tier=back", "-o", "name") == ""
    assert 'configmap "settings" deleted' in await kubectl("delete", "cm", "settings")
    code, _, text = await kubectl.run("get", "cm", "settings")
    assert code == 1
    assert text == 'Error from server (NotFound): configmaps "settings" not found\n'


async def test_strict_validation_reaches_the_user(kubectl: Kubectl) -> None:
    code, _, text = await kubectl.run("apply", "-f", "-", stdin=CONFIG_MAP + "nonsense: 1\n")
    assert code == 1
    assert 'unknown field "nonsense"' in text


async def test_typed_creates_send_protobuf(kubectl: Kubectl) -> None:
    await kubectl("create", "namespace", "team")
    in_team = ("-n", "team")
    await kubectl("create", "configmap", "c", "--from-literal=a=b", *in_team)
    await kubectl("create", "secret", "generic", "s", "--from-literal=a=b", *in_team)
    await kubectl("create", "serviceaccount", "robot", *in_team)
    await kubectl("create", "deployment", "d", "--image=hello:1", "--replicas=3", *in_team)
    await kubectl("create", "service", "nodeport", "d", "--tcp=80:8080", *in_team)
    assert (await read(kubectl, "cm", "c", *in_team))["data"] == {"a": "b"}
    secret = await read(kubectl, "secret", "s", *in_team)
    assert (secret["type"], secret["data"]) == ("Opaque", {"a": "Yg=="})
    deployment = await read(kubectl, "deployment", "d", *in_team)
    assert deployment["spec"]["replicas"] == 3
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "hello:1"
    service = await read(kubectl, "service", "d", *in_team)
    assert 30000 <= service["spec"]["ports"][0]["nodePort"] <= 32767


async def test_change_a_deployment(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    await kubectl("scale", "deployment", "web", "--replicas=5")
    await kubectl("set", "image", "deployment/web", "web=hello:2")
    await kubectl("label", "deployment", "web", "owner=me")
    await kubectl("annotate", "deployment", "web", "note=hi")
    await kubectl("rollout", "pause", "deployment/web")
    web = await read(kubectl, "deployment", "web")
    assert (web["spec"]["replicas"], web["spec"]["paused"]) == (5, True)
    container = web["spec"]["template"]["spec"]["containers"][0]
    assert (container["image"], len(container["ports"])) == ("hello:2", 1)
    assert web["metadata"]["labels"] == {"owner": "me"}
    # Created, scaled, image, annotation (deployments count those too), paused.
    assert web["metadata"]["generation"] == 5
    row = (await kubectl("get", "deployment", "web", "-o", "wide")).splitlines()[1].split()
    assert row[:2] == ["web", "0/5"]
    assert "hello:2" in row


@pytest.mark.parametrize(
    ("kind", "patch"),
    [
        ("merge", '{"data":{"colour":"red"}}'),
        ("strategic", '{"data":{"colour":"red"}}'),
        ("json", '[{"op":"replace","path":"/data/colour","value":"red"}]'),
    ],
)
async def test_patch(kubectl: Kubectl, kind: str, patch: str) -> None:
    await kubectl("apply", "-f", "-", stdin=CONFIG_MAP)
    await kubectl("patch", "cm", "settings", f"--type={kind}", "-p", patch)
    assert (await read(kubectl, "cm", "settings"))["data"] == {"colour": "red"}


async def test_replace_and_edit_conflicts(kubectl: Kubectl) -> None:
    await kubectl("create", "-f", "-", stdin=CONFIG_MAP)
    read_back = await kubectl("get", "cm", "settings", "-o", "yaml")
    await kubectl("replace", "-f", "-", stdin=read_back.replace("blue", "red"))
    code, _, text = await kubectl.run("replace", "-f", "-", stdin=read_back)
    assert code == 1
    assert "the object has been modified" in text


async def test_watch_shows_changes(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=CONFIG_MAP)
    process = await kubectl.start("get", "cm", "-w", "--output-watch-events")
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            lines = [await process.stdout.readline() for _ in range(2)]
            await kubectl("label", "cm", "settings", "a=b")
            await kubectl("delete", "cm", "settings")
            lines += [await process.stdout.readline() for _ in range(2)]
    finally:
        process.terminate()
        await process.communicate()
    kinds = [line.split()[0].decode() for line in lines]
    assert kinds == ["EVENT", "ADDED", "MODIFIED", "DELETED"]


async def test_explain_and_discovery(kubectl: Kubectl) -> None:
    assert "FIELD: replicas <integer>" in await kubectl("explain", "deployment.spec.replicas")
    resources = await kubectl("api-resources", "-o", "wide")
    assert "deploy" in resources
    assert "apps/v1" in (await kubectl("api-versions")).splitlines()
    await kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    assert "service/kubernetes" in await kubectl("get", "all")
    assert "deployment.apps/web" in await kubectl("get", "all")


async def test_describe_shows_events(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    web = await read(kubectl, "deployment", "web")
    reference = {"kind": "Deployment", "name": "web", "namespace": "default"}
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "web.1", "namespace": "default"},
        "involvedObject": {**reference, "uid": web["metadata"]["uid"]},
        "reason": "Tested",
        "message": "all is well",
        "type": "Normal",
        "count": 1,
    }
    await kubectl("create", "-f", "-", stdin=json.dumps(event))
    described = await kubectl("describe", "deployment", "web")
    assert "Replicas:               2 desired" in described
    assert "all is well" in described


async def test_delete_waits_for_finalizers(kubectl: Kubectl) -> None:
    held = CONFIG_MAP.replace("  labels:", "  finalizers: [example.com/hold]\n  labels:")
    await kubectl("apply", "-f", "-", stdin=held)
    process = await kubectl.start("delete", "cm", "settings")
    assert process.stdout is not None
    async with asyncio.timeout(20):
        await process.stdout.readline()
        await kubectl("patch", "cm", "settings", "-p", '{"metadata":{"finalizers":null}}')
        await process.communicate()
    assert process.returncode == 0


async def test_namespaced_lists_and_selectors(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=CONFIG_MAP)
    await kubectl("apply", "-n", "kube-public", "-f", "-", stdin=CONFIG_MAP)
    rows = (await kubectl("get", "cm", "-A", "--no-headers")).splitlines()
    assert [row.split()[0] for row in rows] == ["default", "kube-public"]
    chosen = ("--field-selector", "metadata.namespace=kube-public")
    rows = (await kubectl("get", "cm", "-A", "--no-headers", *chosen)).splitlines()
    assert [row.split()[0] for row in rows] == ["kube-public"]
    await kubectl("delete", "cm", "--all")
    assert len((await kubectl("get", "cm", "-A", "--no-headers")).splitlines()) == 1


async def test_server_side_apply(kubectl: Kubectl) -> None:
    pytest.importorskip("orchestrator.api.patch.server_side_apply")
    apply = ("apply", "--server-side", "-f", "-")
    out = await kubectl(*apply, stdin=DEPLOYMENT)
    assert out == "deployment.apps/web serverside-applied\n"
    other = DEPLOYMENT.replace("replicas: 2", "replicas: 9")
    code, _, text = await kubectl.run(*apply, "--field-manager=rival", stdin=other)
    assert code == 1
    assert ".spec.replicas" in text
    await kubectl(*apply, "--field-manager=rival", "--force-conflicts", stdin=other)
    assert (await read(kubectl, "deployment", "web"))["spec"]["replicas"] == 9


async def test_dry_run_on_the_server(kubectl: Kubectl) -> None:
    out = await kubectl("apply", "--dry-run=server", "-f", "-", stdin=CONFIG_MAP)
    assert out == "configmap/settings created (server dry run)\n"
    assert await kubectl("get", "cm", "-o", "name") == ""
