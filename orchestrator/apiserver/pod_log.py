"""`pods/log`: a container's output, fetched from the kubelet of the pod's node."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from aiohttp import web

from orchestrator.api import errors
from orchestrator.api.json_object import JsonObject, nested, nested_list
from orchestrator.apiserver.request_context import RequestContext
from orchestrator.apiserver.request_info import truth
from orchestrator.apiserver.resource_store import ResourceStore
from orchestrator.pki import KeyPair

if TYPE_CHECKING:
    import aiohttp

KUBELET_PORT = 10250
CONNECT_TIMEOUT_S = 10.0
CHUNK_BYTES = 64 * 1024
ERROR_TEXT_BYTES_MAX = 64 * 1024

BOOLEANS = ("follow", "previous", "timestamps")
NUMBERS = ("sinceSeconds", "tailLines", "limitBytes")


class PodLog:
    """Streams logs. One HTTP session serves all requests; `close` ends it."""

    def __init__(self, nodes: ResourceStore, client: KeyPair, ca_pem: bytes) -> None:
        self._nodes = nodes
        self._client = client
        self._ca_pem = ca_pem
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def serve(
        self, request: web.BaseRequest, store: ResourceStore, context: RequestContext, body: bytes
    ) -> web.StreamResponse:
        """Answer with the log as plain text, chunk by chunk; StatusErrors in kubelet's words.

        A pod that has no node yet has no log either: 204.
        """
        pod = (await store.get(context.namespace, context.name)).object
        container = choose_container(pod, request.query.get("container", ""))
        node = nested(pod, "spec", "nodeName")
        if not node:
            return web.Response(status=204)  # nothing has run yet
        base = await self._kubelet(node)
        path = "/".join(quote(part) for part in (context.namespace, context.name, container))
        query = urlencode(log_query(request.query))
        return await self._relay(request, f"{base}/containerLogs/{path}?{query}")

    async def _kubelet(self, node_name: str) -> str:
        await self._nodes.cache.ensure_started()
        key = self._nodes.key("", node_name)
        stored = self._nodes.cache.get(key) or await self._nodes.get("", node_name)
        addresses = nested_list(stored.object, "status", "addresses")
        for kind in ("InternalIP", "Hostname"):
            for row in addresses:
                if row.get("type") == kind and row.get("address"):
                    host = str(row["address"])
                    port = nested(
                        stored.object, "status", "daemonEndpoints", "kubeletEndpoint", "Port"
                    )
                    host = f"[{host}]" if ":" in host else host
                    return f"https://{host}:{port or KUBELET_PORT}"
        raise errors.internal(f"no preferred addresses found for node {errors.quote(node_name)}")

    async def _relay(self, request: web.BaseRequest, url: str) -> web.StreamResponse:
        import aiohttp

        if self._session is None:
            timeout = aiohttp.ClientTimeout(
                total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=None
            )
            connector = aiohttp.TCPConnector(ssl=self._tls(), limit=0)
            self._session = aiohttp.ClientSession(timeout=timeout, connector=connector)
        try:
            answer = await self._session.get(url)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise errors.internal(f'Get "{url}": {error}') from error
        async with answer:
            if answer.status != 200:
                raise await _refusal(answer)
            response = web.StreamResponse(headers={"Content-Type": "text/plain"})
            response.enable_chunked_encoding()
            await response.prepare(request)
            try:
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
            except aiohttp.ClientError:
                # The kubelet went away: an end without a last chunk tells the client so.
                if request.transport is not None:
                    request.transport.abort()
            return response

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self._ca_pem.decode())
        context.load_cert_chain(self._client.certificate_path, self._client.key_path)
        return context


async def _refusal(answer: aiohttp.ClientResponse) -> errors.StatusError:
    """Turn the kubelet's plain text into a Status of the same code."""
    text = (await answer.content.read(ERROR_TEXT_BYTES_MAX)).decode(errors="replace").strip()
    match answer.status:
        case 400:
            return errors.bad_request(text)
        case 404:
            return errors.StatusError(404, "NotFound", text)
        case code:
            reason = "InternalError" if code >= 500 else ""
            return errors.StatusError(code, reason, text)


def choose_container(pod: JsonObject, asked: str) -> str:
    """Return the container to show; StatusError 400 where it is not known or not unique."""
    name = pod["metadata"]["name"]
    containers = [str(row["name"]) for row in nested_list(pod, "spec", "containers")]
    init = [row["name"] for row in nested_list(pod, "spec", "initContainers")]
    ephemeral = [row["name"] for row in nested_list(pod, "spec", "ephemeralContainers")]
    if asked:
        if asked not in containers + init + ephemeral:
            raise errors.bad_request(f"container {asked} is not valid for pod {name}")
        return asked
    if len(containers) == 1 and not init:
        return containers[0]
    preferred = nested(pod, "metadata", "annotations") or {}
    default = preferred.get("kubectl.kubernetes.io/default-container")
    if default in containers:
        return str(default)
    if len(containers) == 1:
        return containers[0]
    text = f"a container name must be specified for pod {name}, choose one of: "
    text += f"[{' '.join(containers)}]"
    if init:
        text += f" or one of the init containers: [{' '.join(init)}]"
    raise errors.bad_request(text)


def log_query(query: Mapping[str, str]) -> dict[str, str]:
    """Pick the options that the kubelet knows; StatusError 400 or 422 where one is malformed."""
    picked = {name: "true" for name in BOOLEANS if truth(query.get(name))}
    for name in NUMBERS:
        text = query.get(name, "")
        if not text:
            continue
        if not text.lstrip("-").isdigit():
            raise errors.bad_request(f"{name}: {errors.quote(text)} is not a number")
        if int(text) < (0 if name == "tailLines" else 1):
            least = "greater than or equal to 0" if name == "tailLines" else "greater than 0"
            fault = errors.invalid_value(name, int(text), f"must be {least}")
            raise errors.StatusError(422, "Invalid", f"PodLogOptions is invalid: {fault}")
        picked[name] = text
    if query.get("sinceTime"):
        if "sinceSeconds" in picked:
            text = "at most one of `sinceTime` or `sinceSeconds` may be specified"
            raise errors.StatusError(422, "Invalid", f"PodLogOptions is invalid: {text}")
        picked["sinceTime"] = query["sinceTime"]
    return picked
