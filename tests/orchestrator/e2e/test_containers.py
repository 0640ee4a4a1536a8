"""Real containers on a three-member store: logs, restarts, rolling updates, Services."""

from __future__ import annotations

import ssl
import threading
import time
import urllib.error
import urllib.request
from collections import Counter

import pytest

from tests.orchestrator.e2e.local_cluster import EXAMPLES, LocalCluster, eventually

pytestmark = [pytest.mark.root, pytest.mark.containerd, pytest.mark.slow]


@pytest.fixture(scope="module")
def hello(containers: LocalCluster) -> str:
    """The example, running; gives its Service's URL."""
    containers.kubectl("apply", "-f", str(EXAMPLES / "hello.yaml"))
    containers.kubectl("rollout", "status", "deployment/hello", "--timeout=60s")
    service = containers.get("service", "hello")
    return f"http://{service['spec']['clusterIP']}:{service['spec']['ports'][0]['port']}/"


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=3) as answer:
        return str(answer.read().decode())


def test_both_pods_answer_through_the_cluster_ip(containers: LocalCluster, hello: str) -> None:
    pods = containers.ready_pods("app=hello")
    assert len(pods) == 2
    answered: Counter[str] = Counter()
    for _ in range(40):
        page = fetch(hello)
        answered.update(pod for pod in pods if pod in page)
    assert set(answered) == set(pods), answered


def test_pods_reach_services_and_themselves_through_them(
    containers: LocalCluster, hello: str
) -> None:
    """From a pod, a Service answers from every backend: on the same bridge too."""
    service = containers.get("service", "hello")
    address = f"{service['spec']['clusterIP']} {service['spec']['ports'][0]['port']}"
    # Debian's static busybox has a wget that crashes without the C library's files; nc does not.
    ask = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 3 {address} || echo failed"
    script = f"for i in $(seq 24); do {ask}; done"
    containers.kubectl(
        *("run", "asker", "--image=localhost/busybox:1", "--restart=Never"),
        *("--", "sh", "-c", script),
    )
    eventually(
        lambda: containers.get("pod", "asker")["status"]["phase"] == "Succeeded", 60, "asker ends"
    )
    told = containers.kubectl("logs", "asker")
    assert "failed" not in told
    assert {pod for pod in containers.ready_pods("app=hello") if pod in told} == set(
        containers.ready_pods("app=hello")
    )
    containers.kubectl("delete", "pod", "asker")


def test_the_api_server_answers_in_a_pod(containers: LocalCluster) -> None:
    """Through Service `kubernetes`, whose address its certificate names."""
    ask = 'nc -w 5 "$KUBERNETES_SERVICE_HOST" "$KUBERNETES_SERVICE_PORT" </dev/null && echo reached'
    containers.kubectl(
        *("run", "reach", "--image=localhost/busybox:1", "--restart=Never"),
        *("--", "sh", "-c", ask),
    )
    eventually(
        lambda: "reached" in containers.kubectl("logs", "reach", succeeds=False),
        30,
        "the API server is reached from a pod",
    )
    containers.kubectl("delete", "pod", "reach", "--now")
    address = containers.get("service", "kubernetes")["spec"]["clusterIP"]
    authority = ssl.create_default_context(
        cafile=str(containers.data_dir / "apiserver" / "pki" / "ca.crt")
    )
    url = f"https://{address}/version"
    with urllib.request.urlopen(url, timeout=5, context=authority) as answer:
        assert answer.status == 200


def test_node_port_answers_on_the_node(containers: LocalCluster, hello: str) -> None:
    containers.kubectl(
        *("expose", "deployment", "hello", "--name=hello-node", "--type=NodePort"),
        *("--port=8080", "--target-port=8080"),
    )
    port = containers.get("service", "hello-node")["spec"]["ports"][0]["nodePort"]
    bridge = containers.get("node", "node-1")["spec"]["podCIDR"].replace(".0/24", ".1")

    def answers() -> bool:
        try:
            return "Hello from" in fetch(f"http://{bridge}:{port}/")
        except (urllib.error.URLError, OSError):
            return False

    eventually(answers, 10, f"{bridge}:{port} answers")
    containers.kubectl("delete", "service", "hello-node")


def test_logs_follow_a_container(containers: LocalCluster) -> None:
    script = "for i in 1 2 3 4 5; do echo line $i; sleep 0.3; done"
    containers.kubectl(
        *("run", "talker", "--image=localhost/busybox:1", "--restart=Never"),
        *("--", "sh", "-c", script),
    )
    containers.kubectl(
        "wait", "pod/talker", "--for=jsonpath={.status.phase}=Running", "--timeout=20s"
    )
    followed = containers.kubectl("logs", "-f", "talker").splitlines()
    assert followed == [f"line {i}" for i in range(1, 6)]
    assert containers.kubectl("logs", "talker", "--tail=2").splitlines() == ["line 4", "line 5"]
    containers.kubectl("delete", "pod", "talker")


def test_a_container_that_exits_is_restarted_with_back_off(containers: LocalCluster) -> None:
    containers.kubectl(
        *("run", "failing", "--image=localhost/busybox:1"),
        *("--", "sh", "-c", "echo tried; exit 3"),
    )

    def state() -> dict[str, object]:
        statuses = containers.get("pod", "failing")["status"].get("containerStatuses", [{}])
        return dict(statuses[0])

    eventually(lambda: int(str(state().get("restartCount", 0))) >= 2, 60, "two restarts")
    eventually(
        lambda: "CrashLoopBackOff" in containers.kubectl("get", "pod", "failing"), 30, "backing off"
    )
    assert containers.kubectl("logs", "failing", "--previous").strip() == "tried"
    containers.kubectl("delete", "pod", "failing", "--grace-period=1")


def test_volumes_and_environment(containers: LocalCluster) -> None:
    manifest = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: teal}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {token: sesame}
---
apiVersion: v1
kind: Pod
metadata: {name: reader}
spec:
  restartPolicy: Never
  initContainers:
  - name: first
    image: localhost/busybox:1
    command: [sh, -c, "echo prepared > /prepared/note"]
    volumeMounts: [{name: work, mountPath: /prepared}]
  containers:
  - name: main
    image: localhost/busybox:1
    command: [sh, -c, "cat /prepared/note /settings/colour /keys/token; echo; echo $COLOUR $POD"]
    env:
    - {name: COLOUR, valueFrom: {configMapKeyRef: {name: settings, key: colour}}}
    - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    volumeMounts:
    - {name: work, mountPath: /prepared}
    - {name: settings, mountPath: /settings}
    - {name: keys, mountPath: /keys}
  volumes:
  - {name: work, emptyDir: {}}
  - {name: settings, configMap: {name: settings}}
  - {name: keys, secret: {secretName: keys}}
"""
    containers.kubectl("apply", "-f", "-", stdin=manifest)
    eventually(
        lambda: containers.get("pod", "reader")["status"]["phase"] == "Succeeded", 30, "it ends"
    )
    assert containers.kubectl("logs", "reader").splitlines() == [
        "prepared",
        "tealsesame",
        "teal reader",
    ]
    containers.kubectl("delete", "pod/reader", "configmap/settings", "secret/keys")


def test_a_rolling_update_never_drops_below_its_availability(
    containers: LocalCluster, hello: str
) -> None:
    """With maxUnavailable 0, both replicas' worth of pods are ready at every look, and every
    request in between is answered."""
    lows: list[int] = []
    failures: list[str] = []
    finished = threading.Event()

    def look() -> None:
        while not finished.is_set():
            deployment = containers.get("deployment", "hello")
            lows.append(deployment["status"].get("availableReplicas", 0))

    def ask() -> None:
        while not finished.is_set():
            try:
                fetch(hello)
            except (urllib.error.URLError, OSError) as error:
                failures.append(str(error))
            time.sleep(0.01)

    watchers = [threading.Thread(target=look), threading.Thread(target=ask)]
    for watcher in watchers:
        watcher.start()
    try:
        containers.kubectl("set", "image", "deployment/hello", "hello=localhost/hello:2")
        containers.kubectl("rollout", "status", "deployment/hello", "--timeout=60s")
    finally:
        finished.set()
        for watcher in watchers:
            watcher.join()
    assert min(lows) >= 2, lows
    assert "version 2" in fetch(hello)
    assert len(failures) == 0, failures[:3]
