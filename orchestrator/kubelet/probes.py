"""Ask containers how they are: one loop a probe, counted against its thresholds.

Kinds: exec, httpGet, tcpSocket; grpc is refused by name where the pod is admitted. A probe that
cannot be carried out has failed.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp

from orchestrator.api.json_object import JsonObject, nested_list
from orchestrator.runtime.protocol import Runtime, RuntimeFailure

USER_AGENT = "kube-probe/1.35"
BODY_BYTES_MAX = 10 * 1024
"""As much of a failed answer's body as an event may show."""


@dataclass(frozen=True, slots=True)
class ProbeTarget:
    """Where a container is reached."""

    container_id: str
    pod_ip: str
    container: JsonObject


@dataclass(frozen=True, slots=True)
class ProbeOutcome:
    ok: bool
    message: str = ""


class ProbeCounter:
    """Turn outcomes in a row into a verdict; None until a threshold is reached the first time."""

    def __init__(self, success_threshold: int, failure_threshold: int) -> None:
        self._thresholds = {True: success_threshold, False: failure_threshold}
        self._last: bool | None = None
        self._in_a_row = 0
        self.verdict: bool | None = None

    def add(self, ok: bool) -> bool | None:
        """Count one outcome and return the verdict that holds now."""
        self._in_a_row = self._in_a_row + 1 if ok == self._last else 1
        self._last = ok
        if self._in_a_row >= self._thresholds[ok]:
            self.verdict = ok
        return self.verdict


def probe_counter(probe: JsonObject) -> ProbeCounter:
    return ProbeCounter(probe.get("successThreshold") or 1, probe.get("failureThreshold") or 3)


def resolve_port(container: JsonObject, port: int | str) -> int:
    """Return a port number, looking a name up among the container's; ValueError if unknown."""
    if isinstance(port, int):
        return port
    for declared in nested_list(container, "ports"):
        if declared.get("name") == port:
            return int(declared["containerPort"])
    if port.isdigit():
        return int(port)
    raise ValueError(f"couldn't find port: {port}")


class Prober:
    """Carries out probes and HTTP hooks for all pods of a node."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def probe_once(self, probe: JsonObject, target: ProbeTarget) -> ProbeOutcome:
        """Carry the probe out once, within its timeout."""
        timeout_s = int(probe.get("timeoutSeconds") or 1)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._act(probe, target, timeout_s)
        except TimeoutError:
            return ProbeOutcome(False, f"command timed out or no answer within {timeout_s}s")
        except (OSError, ValueError, aiohttp.ClientError, RuntimeFailure) as error:
            return ProbeOutcome(False, str(error) or type(error).__name__)

    async def _act(self, probe: JsonObject, target: ProbeTarget, timeout_s: int) -> ProbeOutcome:
        if (action := probe.get("exec")) is not None:
            command = action.get("command") or []
            result = await self._runtime.exec(target.container_id, command, timeout_s)
            text = result.output[:BODY_BYTES_MAX].decode(errors="replace")
            return ProbeOutcome(result.exit_code == 0, text)
        if (action := probe.get("httpGet")) is not None:
            return await self.http_get(action, target)
        if (action := probe.get("tcpSocket")) is not None:
            host = action.get("host") or target.pod_ip
            port = resolve_port(target.container, action["port"])
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
            return ProbeOutcome(True)
        raise ValueError("the probe names no supported action: exec, httpGet, tcpSocket")

    async def http_get(self, action: JsonObject, target: ProbeTarget) -> ProbeOutcome:
        """GET as an httpGet action says; 200-399 is success, certificates are not checked."""
        host = action.get("host") or target.pod_ip
        port = resolve_port(target.container, action["port"])
        scheme = (action.get("scheme") or "HTTP").lower()
        path = "/" + (action.get("path") or "/").lstrip("/")
        headers = {"User-Agent": USER_AGENT, "Accept": "*/*"}
        headers |= {h["name"]: h["value"] for h in action.get("httpHeaders") or []}
        async with self._open_session().get(
            f"{scheme}://{host}:{port}{path}", headers=headers, allow_redirects=False
        ) as response:
            if 200 <= response.status < 400:
                return ProbeOutcome(True)
            body = (await response.content.read(BODY_BYTES_MAX)).decode(errors="replace")
            text = f"HTTP probe failed with statuscode: {response.status}"
            return ProbeOutcome(False, f"{text}: {body}" if body else text)

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            # A kept connection would hide that a server no longer accepts new ones.
            connector = aiohttp.TCPConnector(ssl=context, force_close=True, limit=0)
            self._session = aiohttp.ClientSession(connector=connector)
        return self._session


async def run_probe(
    prober: Prober,
    probe: JsonObject,
    target: ProbeTarget,
    on_verdict: Callable[[bool, str], None],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Probe until cancelled; tell each change of the verdict, and each failed outcome's text."""
    counter = probe_counter(probe)
    await sleep(float(probe.get("initialDelaySeconds") or 0))
    before: bool | None = None
    while True:
        outcome = await prober.probe_once(probe, target)
        verdict = counter.add(outcome.ok)
        if verdict is not None and verdict != before:
            before = verdict
            on_verdict(verdict, outcome.message)
        await sleep(float(probe.get("periodSeconds") or 10))
