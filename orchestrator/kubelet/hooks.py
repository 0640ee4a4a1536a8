"""Lifecycle hooks: postStart and preStop."""

from __future__ import annotations

import asyncio

import aiohttp

from orchestrator.api.json_object import JsonObject
from orchestrator.kubelet.probes import Prober, ProbeTarget
from orchestrator.runtime.protocol import Runtime, RuntimeFailure

EXEC_TIMEOUT_S = 3600
"""A hook has no timeout of its own; preStop is bounded by the grace period, postStart by this."""


class HookError(Exception):
    """The hook could not be run or said no."""


async def run_hook(
    runtime: Runtime,
    prober: Prober,
    hook: JsonObject,
    container: JsonObject,
    container_id: str,
    pod_ip: str,
) -> None:
    """Run an exec, httpGet or sleep hook to its end; HookError where it fails."""
    try:
        if (action := hook.get("exec")) is not None:
            command = action.get("command") or []
            result = await runtime.exec(container_id, command, EXEC_TIMEOUT_S)
            if result.exit_code != 0:
                text = result.output.decode(errors="replace").strip()
                raise HookError(f"command exited with {result.exit_code}: {text}")
        elif (action := hook.get("httpGet")) is not None:
            target = ProbeTarget(container_id, pod_ip, container)
            outcome = await prober.http_get(action, target)
            if not outcome.ok:
                raise HookError(outcome.message)
        elif (action := hook.get("sleep")) is not None:
            await asyncio.sleep(float(action["seconds"]))
        else:
            raise HookError(f"unsupported hook: {', '.join(hook)}")
    except (RuntimeFailure, OSError, ValueError, aiohttp.ClientError) as error:
        raise HookError(str(error)) from error
