"""Health, version, and the list of paths."""

from __future__ import annotations

import platform
import sys

from aiohttp import web

from orchestrator.api.json_object import JsonObject
from orchestrator.apiserver.config import GIT_VERSION
from orchestrator.apiserver.responses import json_response, not_found_page, text_response
from raftkv.client import Client, ClientError

CHECKS = {
    "/healthz": ("ping", "etcd"),
    "/livez": ("ping",),
    "/readyz": ("ping", "etcd", "bootstrap", "shutdown"),
}
"""Path -> the checks it makes. Liveness does not ask the store: a restart would not mend it."""


class Health:
    """Answers `/healthz`, `/livez`, `/readyz`, and one check at a time below them."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.bootstrapped = False
        """Whether the objects that every cluster has are there."""
        self.stopping = False

    async def serve(self, request: web.BaseRequest) -> web.Response:
        root, _, one = request.path.strip("/").partition("/")
        names: tuple[str, ...] = CHECKS[f"/{root}"]
        if one:
            if one not in names:
                return not_found_page()
            names = (one,)
        excluded = request.query.getall("exclude", [])
        lines, failed = [], False
        for name in names:
            if name in excluded:
                lines.append(f"[+]{name} excluded: ok")
                continue
            fault = await self._check(name)
            failed = failed or bool(fault)
            lines.append(f"[-]{name} failed: {fault}" if fault else f"[+]{name} ok")
        if failed:
            return text_response("\n".join([*lines, f"{root} check failed", ""]), 500)
        if "verbose" in request.query:
            return text_response("\n".join([*lines, f"{root} check passed", ""]))
        return text_response("ok")

    async def _check(self, name: str) -> str:
        """Return what is wrong, or nothing."""
        if name == "etcd":
            try:
                await self._client.get(b"health")
            except ClientError as error:
                return f"the store does not answer: {error.message}"
        if name == "bootstrap" and not self.bootstrapped:
            return "the first objects of the cluster are not there yet"
        if name == "shutdown" and self.stopping:
            return "process is shutting down"
        return ""


def version() -> JsonObject:
    """The document at `/version`."""
    major, minor, _ = GIT_VERSION.removeprefix("v").split(".", 2)
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return {
        "major": major,
        "minor": minor,
        "gitVersion": GIT_VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": f"none (Python {sys.version_info.major}.{sys.version_info.minor})",
        "compiler": sys.implementation.name,
        "platform": f"{sys.platform}/{machine}",
    }


def paths(group_versions: list[str]) -> web.Response:
    """The answer at `/`: every path that there is to explore."""
    listed = ["/api", "/apis", *sorted(CHECKS), "/metrics", "/openapi/v3", "/version"]
    for name in group_versions:
        listed.append(f"/apis/{name}" if "/" in name else f"/api/{name}")
    return json_response({"paths": sorted(listed)})
