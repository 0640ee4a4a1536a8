"""Kinds that are questions: a review is created, answered in its status, and kept nowhere.

They ask who somebody is and what they may do, and are answered by the authorizer's rule of today:
every authenticated user may do everything.
"""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.api import errors
from orchestrator.api.json_object import JsonObject
from orchestrator.api.resource import Resource
from orchestrator.apiserver.authentication import ANONYMOUS, User

UNAUTHENTICATED_GROUP = "system:unauthenticated"
REASON = "every authenticated user may do everything"


def answer(resource: Resource, review: JsonObject, user: User) -> JsonObject:
    """Return the review with its status; StatusError 422 where it asks nothing.

    `resource` is one of `resources.REVIEWS`.
    """
    status = _STATUS[resource.kind](resource, review.get("spec") or {}, user)
    shown = {"kind": resource.kind, "apiVersion": resource.group_version, **review}
    metadata = {**(review.get("metadata") or {}), "creationTimestamp": None}
    return {**shown, "metadata": metadata, "status": status}


def _own_access(resource: Resource, spec: JsonObject, user: User) -> JsonObject:
    _check_attributes(resource, spec)
    return _allowed(user != ANONYMOUS)


def _access(resource: Resource, spec: JsonObject, user: User) -> JsonObject:
    _check_attributes(resource, spec)
    if not spec.get("user") and not spec.get("groups"):
        text = "at least one of user or group must be specified"
        fault = errors.invalid_value("spec.user", "", text)
        raise errors.invalid(resource, "", [fault])
    anonymous = spec.get("user") == ANONYMOUS.name
    return _allowed(not anonymous and UNAUTHENTICATED_GROUP not in (spec.get("groups") or []))


def _own_rules(resource: Resource, spec: JsonObject, user: User) -> JsonObject:
    every = ["*"]
    return {
        "resourceRules": [{"verbs": every, "apiGroups": every, "resources": every}],
        "nonResourceRules": [{"verbs": every, "nonResourceURLs": every}],
        "incomplete": False,
    }


def _self(resource: Resource, spec: JsonObject, user: User) -> JsonObject:
    return {"userInfo": {"username": user.name, "groups": list(user.groups)}}


def _allowed(allowed: bool) -> JsonObject:
    return {"allowed": True, "reason": REASON} if allowed else {"allowed": False}


def _check_attributes(resource: Resource, spec: JsonObject) -> None:
    """A review asks about either a resource or a path."""
    given = [name for name in ("resourceAttributes", "nonResourceAttributes") if spec.get(name)]
    if len(given) != 1:
        text = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        fault = errors.invalid_value("spec.resourceAttributes", None, text)
        raise errors.invalid(resource, "", [fault])


_STATUS: dict[str, Callable[[Resource, JsonObject, User], JsonObject]] = {
    "SelfSubjectAccessReview": _own_access,
    "SubjectAccessReview": _access,
    "LocalSubjectAccessReview": _access,
    "SelfSubjectRulesReview": _own_rules,
    "SelfSubjectReview": _self,
}
