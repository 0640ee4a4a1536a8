"""A kubelet on a real API server: hollow pods, and real processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from orchestrator.api.errors import StatusError
from orchestrator.api.json_object import JsonObject
from orchestrator.api.resources import CONFIG_MAP, EVENT, LEASE, NODE, POD
from orchestrator.apiserver.server import ApiServer
from orchestrator.client.rest_client import RestClient
from orchestrator.images.busybox import (
    architecture,
    build_directory,
    busybox_image,
)
from orchestrator.images.image_store import ImageStore
from orchestrator.images.oci_archive import write_archive
from orchestrator.kubelet.config import KubeletConfig, ServingConfig
from orchestrator.kubelet.kubelet import Kubelet
from orchestrator.runtime.hollow import HollowRuntime
from orchestrator.runtime.process import ProcessRuntime
from orchestrator.runtime.protocol import ContainerState, Runtime
from tests.orchestrator.kubelet.conftest import client_of

HELLO = Path(__file__).resolve().parents[3] / "examples" / "hello-image"
TIMEOUT_S = 20.0
BUSYBOX = "localhost/busybox:1"


@asynccontextmanager
async def node(
    api: ApiServer, directory: Path, runtime: Runtime, pod_cidr: str, **more: Any
) -> AsyncIterator[Kubelet]:
    serving = api.pki.kubelet_serving("n1", ["127.0.0.1"])
    config = KubeletConfig(
        "n1",
        directory,
        pod_cidr=pod_cidr,
        serving=ServingConfig(
            "127.0.0.1",
            serving.certificate_path,
            serving.key_path,
            api.pki.ca.certificate_path,
        ),
        remove_pods_on_stop=True,
    )
    async with client_of(api, api.pki.kubelet("n1")) as client:
        kubelet = Kubelet(replace(config, **more), client, runtime)
        task = asyncio.create_task(kubelet.run())
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await kubelet.ready.wait()
            yield kubelet
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@pytest.fixture
async def hollow(api: ApiServer, tmp_path: Path) -> AsyncIterator[HollowRuntime]:
    runtime = HollowRuntime()
    async with node(api, tmp_path / "node", runtime, "10.244.1.0/24"):
        yield runtime


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    store = ImageStore(tmp_path_factory.mktemp("images"))
    wanted = [busybox_image(), build_directory(HELLO, "localhost/hello:1")]
    store.load_archive(write_archive(wanted, architecture()))
    return store


@pytest.fixture
async def process(
    api: ApiServer, tmp_path: Path, images: ImageStore
) -> AsyncIterator[ProcessRuntime]:
    runtime = ProcessRuntime(tmp_path / "containers", images)
    times = {"object_fresh_s": 0.05, "follow_interval_s": 0.1}
    async with node(api, tmp_path / "node", runtime, "127.64.31.0/24", **times):
        yield runtime
    await runtime.close()


def pod(name: str, *containers: JsonObject, **spec: Any) -> JsonObject:
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "nodeName": "n1",
            "terminationGracePeriodSeconds": 2,
            "containers": list(containers) or [shell("sleep 1000")],
            **spec,
        },
    }


def shell(script: str, name: str = "c", **more: Any) -> JsonObject:
    return {"name": name, "image": BUSYBOX, "command": ["sh", "-c", script], **more}


async def until(
    admin: RestClient, name: str, condition: Callable[[JsonObject], object]
) -> JsonObject:
    """Poll the pod's status until the condition holds, and return the status."""
    status: JsonObject = {}
    try:
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                status = (await admin.get(POD, "default", name)).get("status", {})
                if condition(status):
                    return status
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"{name} never got there: {status}")


def is_ready(status: JsonObject) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", []))


def first_container(status: JsonObject) -> JsonObject:
    """Return the status of the only container, also before there is one."""
    absent = {"state": {}, "started": False, "restartCount": -1}
    (container,) = status.get("containerStatuses") or [absent]
    found: JsonObject = container
    return found


def state(status: JsonObject, kind: str) -> JsonObject:
    return first_container(status)["state"].get(kind) or {}


async def gone(admin: RestClient, name: str) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            found = await admin.list(POD, "default", field_selector=f"metadata.name={name}")
            if not found["items"]:
                return
            await asyncio.sleep(0.02)


async def logs(api: ApiServer, admin: RestClient, name: str, query: str = "") -> str:
    context = admin.config.ssl_context() or True
    url = f"{api.url}/api/v1/namespaces/default/pods/{name}/log?{query}"
    async with aiohttp.ClientSession() as session, session.get(url, ssl=context) as answer:
        text = await answer.text()
        assert answer.status == 200, text
        return text


async def test_a_node_registers_and_beats(admin: RestClient, hollow: HollowRuntime) -> None:
    found = await admin.get(NODE, "", "n1")
    conditions = {c["type"]: c["status"] for c in found["status"]["conditions"]}
    assert conditions["Ready"] == "True"
    assert conditions["MemoryPressure"] == "False"
    assert found["status"]["capacity"]["pods"] == "110"
    assert found["status"]["nodeInfo"]["containerRuntimeVersion"] == "hollow://1"
    assert found["metadata"]["labels"]["kubernetes.io/hostname"] == "n1"
    lease = await admin.get(LEASE, "kube-node-lease", "n1")
    assert lease["spec"]["holderIdentity"] == "n1"
    assert lease["metadata"]["ownerReferences"][0]["uid"] == found["metadata"]["uid"]


async def test_a_deleted_node_comes_back(api: ApiServer, admin: RestClient, tmp_path: Path) -> None:
    quick = {"status_interval_s": 0.05, "status_report_interval_s": 0.1}
    async with node(api, tmp_path / "node", HollowRuntime(), "10.244.1.0/24", **quick):
        uid = (await admin.get(NODE, "", "n1"))["metadata"]["uid"]
        await admin.delete(NODE, "", "n1")
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                with suppress(StatusError):
                    if (await admin.get(NODE, "", "n1"))["metadata"]["uid"] != uid:
                        return
                await asyncio.sleep(0.02)


async def test_a_hollow_pod_lives_restarts_and_goes(
    admin: RestClient, hollow: HollowRuntime
) -> None:
    await admin.create(POD, "default", pod("web"))
    status = await until(admin, "web", is_ready)
    assert status["phase"] == "Running"
    assert status["podIP"].startswith("10.244.1.")
    (sandbox,) = await hollow.list_pods()
    hollow.end(sandbox.containers[0].id, 1)
    status = await until(
        admin, "web", lambda s: first_container(s)["restartCount"] == 1 and is_ready(s)
    )
    assert status["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 1
    await admin.delete(POD, "default", "web")
    await gone(admin, "web")
    async with asyncio.timeout(TIMEOUT_S):
        while await hollow.list_pods():
            await asyncio.sleep(0.02)


async def test_a_pod_of_the_same_name_is_another_pod(
    admin: RestClient, hollow: HollowRuntime
) -> None:
    first = await admin.create(POD, "default", pod("web"))
    await until(admin, "web", is_ready)
    await admin.delete(POD, "default", "web", grace_period_s=0)
    second = await admin.create(POD, "default", pod("web"))
    await until(admin, "web", is_ready)
    async with asyncio.timeout(TIMEOUT_S):
        while [s.uid for s in await hollow.list_pods()] != [second["metadata"]["uid"]]:
            await asyncio.sleep(0.02)
    assert first["metadata"]["uid"] != second["metadata"]["uid"]


@pytest.mark.slow
async def test_hello_serves_its_name(
    admin: RestClient, process: ProcessRuntime, api: ApiServer
) -> None:
    environment = [
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    ]
    probe = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}
    hello = {"name": "hello", "image": "localhost/hello:1", "env": environment}
    await admin.create(POD, "default", pod("hello-x", hello | {"readinessProbe": probe}))
    status = await until(admin, "hello-x", is_ready)
    url = f"http://{status['podIP']}:8080/"
    async with aiohttp.ClientSession() as session, session.get(url) as page:
        assert await page.text() == "Hello from hello-x, version 1\n"
    assert await logs(api, admin, "hello-x") == f"serving on {status['podIP']}:8080\n"
    await admin.delete(POD, "default", "hello-x")
    await gone(admin, "hello-x")
    async with asyncio.timeout(TIMEOUT_S):
        while await process.list_pods():
            await asyncio.sleep(0.02)


async def test_a_crashing_container_backs_off(
    admin: RestClient, process: ProcessRuntime, api: ApiServer
) -> None:
    await admin.create(POD, "default", pod("crash", shell("echo no; exit 3")))
    status = await until(
        admin, "crash", lambda s: state(s, "waiting").get("reason") == "CrashLoopBackOff"
    )
    (container,) = status["containerStatuses"]
    assert container["restartCount"] == 1
    assert container["lastState"]["terminated"]["exitCode"] == 3
    assert await logs(api, admin, "crash", "previous=true") == "no\n"
    reasons: set[str] = set()
    async with asyncio.timeout(TIMEOUT_S):
        while "BackOff" not in reasons:
            events = (await admin.list(EVENT, "default"))["items"]
            reasons = {e["reason"] for e in events if e["involvedObject"]["name"] == "crash"}
            await asyncio.sleep(0.02)
    assert {"Pulled", "Created", "Started"} <= reasons


async def test_a_job_like_pod_runs_its_course(admin: RestClient, process: ProcessRuntime) -> None:
    volume = {"name": "v", "emptyDir": {}}
    mounts = [{"name": "v", "mountPath": "/data"}]
    first = shell("echo 42 > $CONTAINER_ROOT/data/answer", "first", volumeMounts=mounts)
    script = 'cat $CONTAINER_ROOT/data/answer > "$CONTAINER_ROOT/dev/termination-log"'
    main = shell(script, volumeMounts=mounts)
    spec = {"initContainers": [first], "volumes": [volume], "restartPolicy": "Never"}
    await admin.create(POD, "default", pod("job", main, **spec))
    status = await until(admin, "job", lambda s: s.get("phase") == "Succeeded")
    assert state(status, "terminated")["message"] == "42\n"
    assert status["initContainerStatuses"][0]["ready"]


@pytest.mark.slow
async def test_what_is_missing_is_said_and_waited_for(
    admin: RestClient, process: ProcessRuntime
) -> None:
    env = [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "late", "key": "a"}}}]
    await admin.create(POD, "default", pod("env", shell("sleep 1000", env=env)))
    await admin.create(POD, "default", pod("image", {"name": "c", "image": "absent:1"}))
    volume = {"name": "v", "nfs": {"server": "s", "path": "/"}}
    await admin.create(POD, "default", pod("nfs", volumes=[volume]))
    status = await until(admin, "env", lambda s: state(s, "waiting").get("message"))
    assert state(status, "waiting") == {
        "reason": "CreateContainerConfigError",
        "message": 'configmap "late" not found',
    }
    status = await until(
        admin, "image", lambda s: state(s, "waiting").get("reason") == "ErrImagePull"
    )
    assert "never pulled here" in state(status, "waiting")["message"]
    config_map = {"metadata": {"name": "late", "namespace": "default"}, "data": {"a": "1"}}
    await admin.create(CONFIG_MAP, "default", config_map)
    await until(admin, "env", is_ready)
    texts: set[str] = set()
    async with asyncio.timeout(TIMEOUT_S):
        while 'volume "v": type nfs is not supported' not in texts:
            texts = {e["message"] for e in (await admin.list(EVENT, "default"))["items"]}
            await asyncio.sleep(0.02)


async def test_a_mounted_config_map_is_followed(
    admin: RestClient, process: ProcessRuntime, api: ApiServer
) -> None:
    config_map = {"metadata": {"name": "cm", "namespace": "default"}, "data": {"k": "old"}}
    await admin.create(CONFIG_MAP, "default", config_map)
    script = 'cd $CONTAINER_ROOT/cfg; until grep -q new k; do sleep 0.05; done; echo "saw $(cat k)"'
    watcher = shell(script, volumeMounts=[{"name": "v", "mountPath": "/cfg"}])
    volume = {"name": "v", "configMap": {"name": "cm"}}
    spec = {"volumes": [volume], "restartPolicy": "Never"}
    await admin.create(POD, "default", pod("cfg", watcher, **spec))
    await until(admin, "cfg", is_ready)
    await admin.patch(CONFIG_MAP, "default", "cm", {"data": {"k": "new"}})
    await until(admin, "cfg", lambda s: s.get("phase") == "Succeeded")
    assert await logs(api, admin, "cfg") == "saw new\n"


@pytest.mark.slow
async def test_liveness_restarts_and_startup_holds_back(
    admin: RestClient, process: ProcessRuntime
) -> None:
    check = {"exec": {"command": ["test", "-e", "alive"]}, "periodSeconds": 1}
    probes: dict[str, Any] = {
        "livenessProbe": check | {"failureThreshold": 1},
        "startupProbe": check,
    }
    script = "sleep 0.3; touch alive; sleep 2; rm alive; exec sleep 1000"
    await admin.create(POD, "default", pod("live", shell(script, **probes)))
    status = await until(admin, "live", lambda s: state(s, "running"))
    assert not first_container(status)["started"]
    await until(admin, "live", lambda s: first_container(s)["started"])
    await until(admin, "live", lambda s: first_container(s)["restartCount"] == 1)


async def test_a_changed_image_restarts_the_container(
    admin: RestClient, hollow: HollowRuntime
) -> None:
    await admin.create(POD, "default", pod("web"))
    await until(admin, "web", is_ready)
    patch = [{"op": "replace", "path": "/spec/containers/0/image", "value": "other:2"}]
    await admin.patch(POD, "default", "web", patch, "application/json-patch+json")
    status = await until(
        admin, "web", lambda s: first_container(s)["restartCount"] == 1 and is_ready(s)
    )
    assert status["containerStatuses"][0]["image"] == "other:2"


async def test_stopping_the_kubelet_removes_its_pods(
    api: ApiServer, admin: RestClient, tmp_path: Path
) -> None:
    runtime = HollowRuntime()
    async with node(api, tmp_path / "node", runtime, "10.244.1.0/24"):
        await admin.create(POD, "default", pod("web"))
        await until(admin, "web", is_ready)
        (sandbox,) = await runtime.list_pods()
        assert sandbox.containers[0].state is ContainerState.RUNNING
    assert not await runtime.list_pods()
    async with node(api, tmp_path / "node", runtime, "10.244.1.0/24"):
        status = await until(
            admin, "web", lambda s: is_ready(s) and first_container(s)["restartCount"] == 1
        )
    assert status["phase"] == "Running"
