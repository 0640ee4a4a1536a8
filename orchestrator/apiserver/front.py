"""The first thing that meets a request: who is it, may they, is there room, which handler."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from aiohttp import web

from orchestrator.api import errors
from orchestrator.api.errors import StatusError
from orchestrator.apiserver import metrics as metrics_module
from orchestrator.apiserver.authentication import (
    ANONYMOUS,
    User,
    impersonated,
    open_to_anyone,
    user_of,
)
from orchestrator.apiserver.authorization import AllowAuthenticated, Authorizer
from orchestrator.apiserver.config import ApiServerConfig
from orchestrator.apiserver.discovery import Discovery
from orchestrator.apiserver.health import CHECKS, Health, paths, version
from orchestrator.apiserver.metrics import Metrics
from orchestrator.apiserver.openapi import ROOT as OPENAPI_ROOT
from orchestrator.apiserver.openapi import OpenApi
from orchestrator.apiserver.request_info import RequestInfo, parse_request
from orchestrator.apiserver.resource_handler import ResourceHandler
from orchestrator.apiserver.responses import json_response, not_found_page, status_response
from orchestrator.apiserver.stored import Undecodable
from raftkv.client import ClientError, UnavailableError

log = logging.getLogger(__name__)

LONG_RUNNING_SUBRESOURCES = frozenset({"log", "exec", "attach", "portforward", "proxy"})
STORE_REQUEST_TOO_LARGE = "etcdserver: request is too large"


class Front:
    """The handler of every HTTP request."""

    def __init__(
        self,
        config: ApiServerConfig,
        resources: ResourceHandler,
        *,
        discovery: Discovery,
        openapi: OpenApi,
        health: Health,
        metrics: Metrics,
        group_versions: Callable[[], list[str]],
        authorizer: Authorizer | None = None,
    ) -> None:
        self._resources = resources
        self._discovery = discovery
        self._openapi = openapi
        self._health = health
        self._metrics = metrics
        self._group_versions = group_versions
        self._authorizer = authorizer or AllowAuthenticated()
        self._limits = {
            "mutating": config.mutating_in_flight_max,
            "readOnly": config.reading_in_flight_max,
            "longRunning": config.long_running_max,
        }
        self._in_flight = dict.fromkeys(self._limits, 0)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request; whatever goes wrong becomes a Status."""
        info = parse_request(request.method, request.rel_url.raw_path, request.query)
        kind = _request_kind(info)
        started = time.monotonic()
        if self._in_flight[kind] >= self._limits[kind]:
            return status_response(
                errors.too_many_requests("Too many requests, please try again later.")
            )
        self._in_flight[kind] += 1
        try:
            response = await self._answer(request, info)
        finally:
            self._in_flight[kind] -= 1
        self._count(info, response, kind, time.monotonic() - started)
        return response

    async def _answer(
        self, request: web.BaseRequest, info: RequestInfo | None
    ) -> web.StreamResponse:
        try:
            user = await self._admit(request, info)
            if info is not None:
                return await self._resources.handle(request, info, user)
            return await self._other(request)
        except StatusError as error:
            return status_response(error)
        except ClientError as error:
            return status_response(_store_failure(error, info))
        except Undecodable as error:
            return status_response(errors.internal(str(error)))
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception as error:
            log.exception("request failed: %s %s", request.method, request.path)
            return status_response(errors.internal(f"{type(error).__name__}: {error}"))

    async def _admit(self, request: web.BaseRequest, info: RequestInfo | None) -> User:
        """Return who asks; StatusError 401 without credentials, 403 where they do not suffice."""
        tls = request.transport.get_extra_info("ssl_object") if request.transport else None
        user = user_of(tls.getpeercert() if tls is not None else None)
        if info is None and open_to_anyone(request.path):
            return user
        if user == ANONYMOUS:
            raise errors.unauthorized()
        user = impersonated(request.headers, user)
        reason = await self._authorizer.authorize(user, request.path, info)
        if reason is not None:
            raise StatusError(403, "Forbidden", f'User "{user.name}": {reason}', {})
        return user

    async def _other(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve what is not a resource: discovery, schemas, health, version, metrics."""
        path = request.path.rstrip("/") or "/"
        if request.method not in ("GET", "HEAD"):
            raise errors.method_not_allowed()
        if path.startswith(OPENAPI_ROOT):
            return self._openapi.serve(request)
        if f"/{path.split('/')[1]}" in CHECKS:
            return await self._health.serve(request)
        found: web.StreamResponse | None = None
        match path.strip("/").split("/"):
            case [""]:
                found = paths(self._group_versions())
            case ["version"]:
                found = json_response(version())
            case ["metrics"]:
                headers = {"Content-Type": metrics_module.CONTENT_TYPE}
                found = web.Response(body=self._render_metrics(), headers=headers)
            case ["api"]:
                found = self._discovery.core(request)
            case ["apis"]:
                found = self._discovery.groups(request)
            case ["api", name]:
                found = self._discovery.resources(request, "", name)
            case ["apis", group]:
                found = self._discovery.group(request, group)
            case ["apis", group, name]:
                found = self._discovery.resources(request, group, name)
        return found if found is not None else not_found_page()

    def _render_metrics(self) -> bytes:
        for kind, count in self._in_flight.items():
            if kind == "longRunning":
                self._metrics.watchers.set(count)
            else:
                self._metrics.in_flight.labels(kind).set(count)
        return self._metrics.render()

    def _count(
        self, info: RequestInfo | None, response: web.StreamResponse, kind: str, took_s: float
    ) -> None:
        """Count the request. Paths that name no resource, or an unknown one, count as one."""
        if info is None or response.status == 404:
            labels = ("", "", "", "", "")
        else:
            labels = (info.verb, info.group, info.version, info.plural, info.subresource)
        self._metrics.requests.labels(*labels, str(response.status)).inc()
        if kind != "longRunning":
            self._metrics.duration.labels(labels[0]).observe(took_s)


def _request_kind(info: RequestInfo | None) -> str:
    if info is None:
        return "readOnly"
    if info.verb == "watch" or info.subresource in LONG_RUNNING_SUBRESOURCES:
        return "longRunning"
    return "mutating" if info.mutating else "readOnly"


def _store_failure(error: ClientError, info: RequestInfo | None) -> StatusError:
    """Say what became of a request that the store failed.

    A read may be repeated at once, and clients do so on 503 with Retry-After; a write's outcome is
    unknown, so its client must look first.
    """
    if error.message == STORE_REQUEST_TOO_LARGE:
        return errors.too_large(error.message)
    if isinstance(error, UnavailableError) and (info is None or not info.mutating):
        refusal = errors.service_unavailable(error.message)
        refusal.details = {"retryAfterSeconds": 1}
        return refusal
    return errors.internal(error.message)
