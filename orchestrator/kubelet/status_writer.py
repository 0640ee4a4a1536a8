"""Post pod statuses: only the newest of each pod, only where it differs, with retries."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.api.errors import StatusError
from orchestrator.api.json_object import JsonObject
from orchestrator.api.resources import POD
from orchestrator.client.controller import DONE, Controller, Result
from orchestrator.client.rest_client import RestClient

WORKERS = 4

_OWN_FIELDS = ("reason", "message", "podIP", "podIPs", "initContainerStatuses")
"""Fields that a merge patch must name to remove them."""


@dataclass(slots=True)
class _Wanted:
    pod: JsonObject
    status: JsonObject
    finished: bool


class StatusWriter:
    """Keeps the API's pod statuses equal to what the workers computed."""

    def __init__(self, client: RestClient) -> None:
        self._client = client
        self._wanted: dict[str, _Wanted] = {}
        self._posted: dict[str, JsonObject] = {}
        self._controller: Controller[str] = Controller("pod-status", self._post, workers=WORKERS)

    def set(self, pod: JsonObject, status: JsonObject, finished: bool = False) -> None:
        """Post `status` soon; `finished`: the pod is deleted and stopped, remove it as well."""
        uid = pod["metadata"]["uid"]
        wanted = self._wanted.get(uid)
        same = self._posted.get(uid) == status
        if wanted is None and same and not finished:
            return
        self._wanted[uid] = _Wanted(pod, status, finished or bool(wanted and wanted.finished))
        self._controller.queue.add(uid)

    def forget(self, uid: str) -> None:
        """Drop what is kept of a pod that is gone."""
        self._wanted.pop(uid, None)
        self._posted.pop(uid, None)

    async def run(self) -> None:
        await self._controller.run()

    async def _post(self, uid: str) -> Result:
        wanted = self._wanted.get(uid)
        if wanted is None:
            return DONE
        metadata = wanted.pod["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        try:
            if self._posted.get(uid) != wanted.status:
                cleared = dict.fromkeys(_OWN_FIELDS) | wanted.status
                patch = {"metadata": {"uid": uid}, "status": cleared}
                await self._client.patch(POD, namespace, name, patch, subresource="status")
                self._posted[uid] = wanted.status
            if wanted.finished:
                await self._client.delete(POD, namespace, name, grace_period_s=0, uid=uid)
        except StatusError as error:
            # Gone; another pod of that name ends in `forget`, after retries that change nothing.
            if error.code != 404:
                raise
        if self._wanted.get(uid) is wanted:
            del self._wanted[uid]
        return DONE
