"""Health over HTTP: /health, /livez, /readyz; and /version."""

import json
from collections.abc import Awaitable, Callable, Mapping

from raftkv.errors import ERRORS, ErrorCode, StoreError
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.rpc.http_exchange import Answer, Headers, Query
from raftkv.rpc.http_routes import HttpRoutes
from raftkv.server.member import Member
from raftkv.version import ETCD_VERSION

__all__ = ["HealthService"]

PROBE = pb.RangeRequest(key=b"health", limit=1).SerializeToString()

Check = Callable[[], Awaitable[str]]
"""Returns why it failed, or "" when all is well."""


class HealthService:
    """Answers probes of one member and counts them."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self.successes = 0
        self.failures = 0
        self._live: Mapping[str, Check] = {"serializable_read": self._serializable_read}
        self._ready: Mapping[str, Check] = {
            "data_corruption": self._data_corruption,
            "serializable_read": self._serializable_read,
            "linearizable_read": self._linearizable_read,
            "non_learner": self._non_learner,
        }

    def register_version(self, routes: HttpRoutes) -> None:
        """Add /version."""
        routes.add("/version", self._version)

    def register_http(self, routes: HttpRoutes) -> None:
        """Add the probes."""
        routes.add("/health", self.health)
        for name, checks in (("livez", self._live), ("readyz", self._ready)):
            routes.add(f"/{name}", _prober(checks))
            routes.add(f"/{name}/", _prober(checks))

    async def health(
        self, _method: str, _path: str, query: Query, _headers: Headers, _body: bytes
    ) -> Answer:
        """Say whether this member serves; `?serializable=true` asks for local reads only."""
        excluded = query.get("exclude", [])
        alarms = [text.split("alarm:")[1].strip() for text in self._member.cluster.alarms.texts()]
        raised = [name for name in alarms if name not in excluded]
        serializable = query.get("serializable", ["false"])[-1] == "true"
        if raised:
            reason = f"ALARM {raised[0]}"
        elif serializable:
            reason = await self._serializable_read()
        elif not self._member.node.leader_id:
            reason = "RAFT NO LEADER"
        else:
            reason = await self._linearizable_read()
        healthy = not reason
        self.successes += healthy
        self.failures += not healthy
        body = json.dumps(
            {"health": "true" if healthy else "false", "reason": reason}, separators=(",", ":")
        )
        return 200 if healthy else 503, "application/json", body.encode()

    async def _version(
        self, _method: str, _path: str, _query: Query, _headers: Headers, _body: bytes
    ) -> Answer:
        """Tell the API's version, and what a downgrade lowers."""
        cluster = self._member.cluster.downgrade.cluster_version
        versions = {"etcdserver": ETCD_VERSION, "etcdcluster": cluster, "storage": cluster}
        return 200, "application/json", json.dumps(versions, separators=(",", ":")).encode()

    async def _serializable_read(self) -> str:
        result = self._member.store.range(PROBE, self._member.node.term)
        if isinstance(result, bytes):
            return ""
        return f"RANGE ERROR:{ERRORS[ErrorCode(result)][1]}"

    async def _data_corruption(self) -> str:
        return "alarm CORRUPT" if self._member.cluster.alarms.is_corrupt else ""

    async def _non_learner(self) -> str:
        return "this member is a learner" if self._member.is_learner else ""

    async def _linearizable_read(self) -> str:
        try:
            await self._member.read_barrier()
        except StoreError as error:
            return f"RANGE ERROR:{error.text}"
        return await self._serializable_read()


def _prober(checks: Mapping[str, Check]) -> Callable[..., Awaitable[Answer]]:
    """Make the handler of /livez or /readyz and of the paths of their single checks."""

    async def probe(
        _method: str, path: str, query: Query, _headers: Headers, _body: bytes
    ) -> Answer:
        _, _, only = path.removeprefix("/").partition("/")
        excluded = set(query.get("exclude", []))
        names = [only] if only else [name for name in checks if name not in excluded]
        if only and only not in checks:
            return 404, "text/plain; charset=utf-8", b"404 page not found\n"
        reasons = {name: await checks[name]() for name in names}
        failed = any(reasons.values())
        lines = [
            f"[-]{name} failed: {reason}" if reason else f"[+]{name} ok"
            for name, reason in reasons.items()
        ]
        verbose = failed or "verbose" in query
        text = "\n".join([*lines, "ok" if not failed else "failed"]) if verbose else "ok"
        return 503 if failed else 200, "text/plain; charset=utf-8", f"{text}\n".encode()

    return probe
