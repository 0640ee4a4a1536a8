"""The kubelet's HTTPS server: logs for the API server, and a few things for people.

Only clients with a certificate of the cluster's CA get a connection. Paths: `/containerLogs/
{namespace}/{pod}/{container}`, `/pods`, `/healthz`, `/metrics`.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
from aiohttp import web

from orchestrator.api.json_object import JsonObject, nested_list
from orchestrator.api.times import parse_time
from orchestrator.kubelet.config import ServingConfig
from orchestrator.kubelet.container_log import LogOptions, read_log
from orchestrator.kubelet.pod_directory import log_directory, log_path
from orchestrator.kubelet.pod_view import PodContainers, api_container_status
from orchestrator.runtime.protocol import ContainerState, ContainerStatus

SHUTDOWN_TIMEOUT_S = 0.5
"""How long log streams may go on once the kubelet stops."""


class KubeletServer:
    """Serves one node. `pods` lists the pods of its workers, `containers` looks one up by uid."""

    def __init__(
        self,
        config: ServingConfig,
        data_dir: Path,
        containers: Callable[[str], PodContainers],
        pods: Callable[[], list[JsonObject]],
    ) -> None:
        self._config = config
        self._data_dir = data_dir
        self._containers = containers
        self._pods = pods
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Listen; return the port."""
        application = web.Application()
        application.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._logs)
        application.router.add_get("/pods", self._list_pods)
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(
            application, access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT_S
        )
        await self._runner.setup()
        context = ssl.create_default_context(
            ssl.Purpose.CLIENT_AUTH, cafile=str(self._config.client_ca_file)
        )
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(self._config.cert_file, self._config.key_file)
        host, port = self._config.host, self._config.port
        site = web.TCPSite(self._runner, host, port, ssl_context=context)
        await site.start()
        bound: int = self._runner.addresses[0][1]
        return bound

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _list_pods(self, request: web.Request) -> web.Response:
        body = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": self._pods()}
        return web.Response(body=orjson.dumps(body), content_type="application/json")

    async def _metrics(self, request: web.Request) -> web.Response:
        pods = self._pods()
        running = sum(len(self._containers(p["metadata"]["uid"]).running) for p in pods)
        text = (
            "# HELP kubelet_running_pods Number of pods that have a worker\n"
            "# TYPE kubelet_running_pods gauge\n"
            f"kubelet_running_pods {len(pods)}\n"
            "# HELP kubelet_running_containers Number of containers currently running\n"
            "# TYPE kubelet_running_containers gauge\n"
            f'kubelet_running_containers{{container_state="running"}} {running}\n'
        )
        return web.Response(text=text)

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        namespace, name = request.match_info["namespace"], request.match_info["pod"]
        container = request.match_info["container"]
        pod = self._find_pod(namespace, name)
        if pod is None:
            raise web.HTTPNotFound(text=f'pod "{name}" does not exist')
        uid = pod["metadata"]["uid"]
        history = self._containers(uid).history(container)
        chosen = self._choose(pod, container, history, "previous" in request.query)
        directory = log_directory(self._data_dir, namespace, name, uid)
        path = directory / log_path(container, chosen.attempt)
        if not path.exists():
            raise web.HTTPNotFound(text=f"no log of container {container} on this node")
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        response.enable_chunked_encoding()
        options = log_options(request.query, datetime.now(UTC))

        def still_running() -> bool:
            current = self._containers(uid).history(container)
            return any(c.id == chosen.id and c.state is ContainerState.RUNNING for c in current)

        await response.prepare(request)
        async for piece in read_log(path, options, still_running):
            await response.write(piece)
        return response

    def _find_pod(self, namespace: str, name: str) -> JsonObject | None:
        for pod in self._pods():
            metadata = pod["metadata"]
            if (metadata["namespace"], metadata["name"]) == (namespace, name):
                return pod
        return None

    def _choose(
        self, pod: JsonObject, container: str, history: list[ContainerStatus], previous: bool
    ) -> ContainerStatus:
        name = pod["metadata"]["name"]
        specs = [*nested_list(pod, "spec", "containers")]
        specs += nested_list(pod, "spec", "initContainers")
        if all(spec["name"] != container for spec in specs):
            text = f'container "{container}" in pod "{name}" is not available'
            raise web.HTTPBadRequest(text=text)
        ran = [c for c in history if c.started_at_ns]
        if previous:
            if len(ran) < 2:
                text = f'previous terminated container "{container}" in pod "{name}" not found'
                raise web.HTTPBadRequest(text=text)
            return ran[1]
        if not ran:
            waiting = api_container_status(pod, container).get("state", {}).get("waiting", {})
            reason = waiting.get("reason", "ContainerCreating")
            text = f'container "{container}" in pod "{name}" is waiting to start: {reason}'
            raise web.HTTPBadRequest(text=text)
        return ran[0]


def log_options(query: Mapping[str, str], now: datetime) -> LogOptions:
    """Read the query of a log request; HTTPBadRequest for a number or time that is none."""
    try:
        since = None
        if text := query.get("sinceTime"):
            since = parse_time(text)
        elif text := query.get("sinceSeconds"):
            since = now - timedelta(seconds=int(text))
        tail, limit = query.get("tailLines"), query.get("limitBytes")
        return LogOptions(
            follow=query.get("follow") == "true",
            timestamps=query.get("timestamps") == "true",
            tail_lines=int(tail) if tail else None,
            limit_bytes=int(limit) if limit else None,
            since=since,
        )
    except ValueError as error:
        raise web.HTTPBadRequest(text=str(error)) from error
