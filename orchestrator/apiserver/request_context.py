"""What the stages of one request share: who asks, for what, with which options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from orchestrator.api import errors
from orchestrator.api.decode import FieldValidation
from orchestrator.api.errors import FieldError
from orchestrator.api.json_object import JsonObject
from orchestrator.api.resource import Resource
from orchestrator.apiserver.authentication import User
from orchestrator.apiserver.request_info import RequestInfo

FIELD_VALIDATIONS = ("Ignore", "Warn", "Strict")
WARNINGS_MAX = 32
"""Warning headers in one answer; further ones are dropped."""


@dataclass(slots=True)
class RequestContext:
    """One request about one row of the resource table. `warnings` become Warning headers."""

    user: User
    resource: Resource
    info: RequestInfo
    now: datetime
    dry_run: bool = False
    field_manager: str = ""
    field_validation: FieldValidation = "Warn"
    force: bool = False
    applying: bool = False
    """Whether this is server-side apply, which keeps `managedFields` itself."""
    warnings: list[str] = field(default_factory=list)

    @property
    def namespace(self) -> str:
        """The namespace of the objects concerned; empty for kinds without, or all namespaces."""
        return self.info.namespace if self.resource.namespaced else ""

    @property
    def name(self) -> str:
        return self.info.name

    def warn(self, text: str) -> None:
        if text not in self.warnings and len(self.warnings) < WARNINGS_MAX:
            self.warnings.append(text)


def write_options(query: Mapping[str, str], user_agent: str) -> dict[str, Any]:
    """Read dryRun, fieldManager, fieldValidation and force; StatusError where one is unknown.

    The manager's default is the User-Agent up to its first slash.
    """
    dry_run = query.get("dryRun", "")
    if dry_run not in ("", "All"):
        raise errors.bad_request(
            f"Invalid value: {errors.quote(dry_run)}: dryRun: Unsupported value: "
            f'{errors.quote(dry_run)}: supported values: "All"'
        )
    validation = query.get("fieldValidation", "") or "Warn"
    if validation not in FIELD_VALIDATIONS:
        supported = errors.not_supported("fieldValidation", validation, FIELD_VALIDATIONS)
        raise errors.StatusError(422, "Invalid", str(supported))
    return {
        "dry_run": dry_run == "All",
        "field_manager": query.get("fieldManager", "") or user_agent.partition("/")[0],
        "field_validation": validation,
        "force": query.get("force", "") in ("true", "1"),
    }


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """How to delete. `grace_period_s` None is the kind's default, `propagation` None likewise."""

    grace_period_s: int | None = None
    propagation: str | None = None
    uid: str | None = None
    resource_version: str | None = None
    dry_run: bool = False


PROPAGATIONS = ("Background", "Foreground", "Orphan")


def delete_options(body: JsonObject | None, query: Mapping[str, str]) -> DeleteOptions:
    """Merge a DeleteOptions body with the query; the body wins where it has a field."""
    body = body or {}
    preconditions = body.get("preconditions") or {}
    grace: Any = body.get("gracePeriodSeconds", query.get("gracePeriodSeconds") or None)
    try:
        grace_period_s = None if grace is None else int(grace)
    except (TypeError, ValueError) as error:
        raise errors.bad_request(f"gracePeriodSeconds: {grace!r} is not a number") from error
    propagation = body.get("propagationPolicy") or query.get("propagationPolicy") or None
    orphan: Any = body.get("orphanDependents", query.get("orphanDependents"))
    faults: list[FieldError] = []
    if propagation is not None and propagation not in PROPAGATIONS:
        faults.append(errors.not_supported("propagationPolicy", propagation, PROPAGATIONS))
    if propagation is not None and orphan is not None:
        text = "orphanDependents and deletionPropagation cannot be both set"
        faults.append(errors.invalid_value("propagationPolicy", propagation, text))
    if faults:
        texts = ", ".join(str(fault) for fault in faults)
        raise errors.StatusError(422, "Invalid", f"DeleteOptions.meta.k8s.io is invalid: {texts}")
    if orphan is not None:
        propagation = "Orphan" if orphan in (True, "true", "1") else "Background"
    return DeleteOptions(
        grace_period_s=None if grace_period_s is None else max(grace_period_s, 0),
        propagation=propagation,
        uid=preconditions.get("uid"),
        resource_version=preconditions.get("resourceVersion"),
        dry_run="All" in (body.get("dryRun") or ()) or query.get("dryRun") == "All",
    )
