"""Logs: the right container of the right kubelet, streamed; refusals in Kubernetes' words."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from orchestrator.api.errors import StatusError
from orchestrator.apiserver.pod_log import choose_container, log_query
from orchestrator.apiserver.server import ApiServer
from tests.orchestrator.apiserver.conftest import Rest
from tests.orchestrator.apiserver.test_resources import PODS, pod


class Kubelet:
    """A TLS server that answers for a node; `asked` holds the URLs that it was sent."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.go_on = asyncio.Event()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(request.path_qs)
        if "previous" in request.query:
            return web.Response(
                status=400, text='previous terminated container "c" in pod "p" not found'
            )
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first\n")
        if "follow" in request.query:
            await self.go_on.wait()
        await response.write(b"last\n")
        return response


@pytest.fixture
async def kubelet(server: ApiServer, rest: Rest) -> AsyncIterator[Kubelet]:
    made = Kubelet()
    serving = server.pki.kubelet_serving("n1", ["127.0.0.1"])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=server.pki.ca_pem.decode())
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(serving.certificate_path, serving.key_path)
    runner = web.ServerRunner(web.Server(made.handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    node: dict[str, Any] = {"metadata": {"name": "n1"}}
    await rest.make("/api/v1/nodes", node)
    node["status"] = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": runner.addresses[0][1]}},
    }
    patch = "application/merge-patch+json"
    code, _ = await rest.call("PATCH", "/api/v1/nodes/n1/status", node, content_type=patch)
    assert code == 200
    yield made
    await runner.cleanup()


async def test_logs_come_from_the_node(rest: Rest, kubelet: Kubelet) -> None:
    await rest.make(PODS, pod("p", nodeName="n1"))
    query = "tailLines=5&timestamps=true"
    assert await rest.get(f"{PODS}/p/log?{query}") == (200, "first\nlast\n")
    assert kubelet.asked == ["/containerLogs/default/p/c?timestamps=true&tailLines=5"]


async def test_followed_logs_arrive_as_they_are_written(rest: Rest, kubelet: Kubelet) -> None:
    await rest.make(PODS, pod("p", nodeName="n1"))
    async with rest.session.get(f"{rest.url}{PODS}/p/log?follow=true") as answer:
        async with asyncio.timeout(5):
            assert await answer.content.readline() == b"first\n"
            kubelet.go_on.set()
            assert await answer.content.readline() == b"last\n"


async def test_the_kubelets_refusal_is_passed_on(rest: Rest, kubelet: Kubelet) -> None:
    await rest.make(PODS, pod("p", nodeName="n1"))
    code, status = await rest.get(f"{PODS}/p/log?previous=true")
    assert (code, status["reason"]) == (400, "BadRequest")
    assert status["message"] == 'previous terminated container "c" in pod "p" not found'


async def test_a_pod_without_a_node_has_no_log(rest: Rest) -> None:
    await rest.make(PODS, pod("p"))
    assert (await rest.get(f"{PODS}/p/log"))[0] == 204


def two_containers() -> dict[str, Any]:
    containers = [{"name": "a"}, {"name": "b"}]
    spec = {"containers": containers, "initContainers": [{"name": "i"}]}
    return {"metadata": {"name": "p"}, "spec": spec}


def test_a_container_must_be_named_when_there_are_several() -> None:
    with pytest.raises(StatusError) as refused:
        choose_container(two_containers(), "")
    assert refused.value.message == (
        "a container name must be specified for pod p, choose one of: [a b] "
        "or one of the init containers: [i]"
    )
    assert choose_container(two_containers(), "i") == "i"
    with pytest.raises(StatusError, match="container x is not valid for pod p"):
        choose_container(two_containers(), "x")


@pytest.mark.parametrize(
    "query",
    [{"tailLines": "x"}, {"sinceSeconds": "0"}, {"sinceSeconds": "1", "sinceTime": "2026"}],
)
def test_malformed_options_are_refused(query: dict[str, str]) -> None:
    with pytest.raises(StatusError):
        log_query(query)
