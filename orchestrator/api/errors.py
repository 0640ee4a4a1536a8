"""What the API server answers when it refuses: `Status` objects and the field errors inside them.

Texts, codes and reasons are those of Kubernetes, because clients match them: `kubectl`, client-go's
`IsNotFound` and its kin, and people's scripts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from orchestrator.api.json_object import JsonObject


class ResourceName(Protocol):
    """The part of a resource row that an error text needs."""

    @property
    def group(self) -> str: ...
    @property
    def plural(self) -> str: ...
    @property
    def kind(self) -> str: ...


class ErrorType(Enum):
    """The kinds of field error: the cause's reason and the words that open its text."""

    NOT_FOUND = ("FieldValueNotFound", "Not found")
    REQUIRED = ("FieldValueRequired", "Required value")
    DUPLICATE = ("FieldValueDuplicate", "Duplicate value")
    INVALID = ("FieldValueInvalid", "Invalid value")
    NOT_SUPPORTED = ("FieldValueNotSupported", "Unsupported value")
    FORBIDDEN = ("FieldValueForbidden", "Forbidden")
    TOO_LONG = ("FieldValueTooLong", "Too long")
    TOO_MANY = ("FieldValueTooMany", "Too many")
    INTERNAL = ("InternalError", "Internal error")
    TYPE_INVALID = ("FieldValueTypeInvalid", "Invalid value")

    @property
    def reason(self) -> str:
        return self.value[0]

    @property
    def text(self) -> str:
        return self.value[1]


_WITHOUT_VALUE = (
    ErrorType.REQUIRED,
    ErrorType.FORBIDDEN,
    ErrorType.TOO_LONG,
    ErrorType.INTERNAL,
)


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with one field, worded as Go's `field.Error` words it."""

    type: ErrorType
    field: str
    """Path from the object's root: `spec.containers[0].image`."""
    bad_value: Any = None
    detail: str = ""

    @property
    def body(self) -> str:
        """The text without the field's path: a cause's message."""
        text = self.type.text
        if self.type not in _WITHOUT_VALUE:
            text += f": {_render_value(self.bad_value)}"
        return f"{text}: {self.detail}" if self.detail else text

    def __str__(self) -> str:
        return f"{self.field}: {self.body}"

    def to_cause(self) -> JsonObject:
        return {"reason": self.type.reason, "message": self.body, "field": self.field}


def _render_value(value: Any) -> str:
    if isinstance(value, str):
        return quote(value)
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def quote(text: str) -> str:
    """Quote `text` as Go's %q does for printable text."""
    return json.dumps(text, ensure_ascii=False)


def required(field: str, detail: str = "") -> FieldError:
    return FieldError(ErrorType.REQUIRED, field, detail=detail)


def invalid_value(field: str, value: Any, detail: str) -> FieldError:
    return FieldError(ErrorType.INVALID, field, value, detail)


def type_invalid(field: str, value: Any, detail: str) -> FieldError:
    return FieldError(ErrorType.TYPE_INVALID, field, value, detail)


def duplicate(field: str, value: Any) -> FieldError:
    return FieldError(ErrorType.DUPLICATE, field, value)


def field_not_found(field: str, value: Any) -> FieldError:
    return FieldError(ErrorType.NOT_FOUND, field, value)


def field_forbidden(field: str, detail: str) -> FieldError:
    return FieldError(ErrorType.FORBIDDEN, field, detail=detail)


def not_supported(field: str, value: Any, supported: Iterable[str]) -> FieldError:
    names = ", ".join(quote(name) for name in sorted(supported))
    return FieldError(ErrorType.NOT_SUPPORTED, field, value, f"supported values: {names}")


def too_long(field: str, size_bytes_max: int) -> FieldError:
    detail = f"may not be more than {size_bytes_max} bytes"
    return FieldError(ErrorType.TOO_LONG, field, detail=detail)


def too_many(field: str, count: int, count_max: int) -> FieldError:
    return FieldError(ErrorType.TOO_MANY, field, count, f"must have at most {count_max} items")


class StatusError(Exception):
    """A refusal with its HTTP code; `to_status` is the body that a client receives.

    `reason` is the machine-readable word (`NotFound`, `Conflict`, …); `details` is the
    `StatusDetails` object (name, group, kind, uid, causes, retryAfterSeconds) or None.
    """

    def __init__(
        self, code: int, reason: str, message: str, details: JsonObject | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details

    def __repr__(self) -> str:
        return f"StatusError({self.code}, {self.reason!r}, {self.message!r})"

    @property
    def retry_after_s(self) -> int | None:
        """Seconds for the Retry-After header, or None where the client should not retry."""
        return (self.details or {}).get("retryAfterSeconds")

    def to_status(self) -> JsonObject:
        status: JsonObject = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        if self.details is not None:
            status["details"] = self.details
        return status

    @classmethod
    def from_status(cls, status: JsonObject, code: int = 500) -> StatusError:
        """Read a server's `Status` body; `code` is the HTTP status for bodies that name none."""
        return cls(
            int(status.get("code") or code),
            str(status.get("reason") or ""),
            str(status.get("message") or "unknown"),
            status.get("details"),
        )


def _qualified(resource: ResourceName) -> str:
    return f"{resource.plural}.{resource.group}" if resource.group else resource.plural


def _details(resource: ResourceName, name: str, **more: Any) -> JsonObject:
    details: JsonObject = {"name": name} if name else {}
    if resource.group:
        details["group"] = resource.group
    details["kind"] = resource.plural
    return details | more


def not_found(resource: ResourceName, name: str) -> StatusError:
    message = f"{_qualified(resource)} {quote(name)} not found"
    return StatusError(404, "NotFound", message, _details(resource, name))


def already_exists(resource: ResourceName, name: str) -> StatusError:
    message = f"{_qualified(resource)} {quote(name)} already exists"
    return StatusError(409, "AlreadyExists", message, _details(resource, name))


def generate_name_conflict(resource: ResourceName, name: str) -> StatusError:
    """Say that every generated name that was tried is taken."""
    message = (
        f"{_qualified(resource)} {quote(name)} already exists, "
        "the server was not able to generate a unique name for the object"
    )
    details = _details(resource, name, retryAfterSeconds=1)
    return StatusError(409, "AlreadyExists", message, details)


MODIFIED = (
    "the object has been modified; please apply your changes to the latest version and try again"
)
"""What `conflict` says when the resource version is not the latest."""


def conflict(resource: ResourceName, name: str, text: str = MODIFIED) -> StatusError:
    message = f"Operation cannot be fulfilled on {_qualified(resource)} {quote(name)}: {text}"
    return StatusError(409, "Conflict", message, _details(resource, name))


def apply_conflict(causes: Sequence[JsonObject], message: str) -> StatusError:
    """Say that server-side apply met fields of other managers; one cause per field."""
    return StatusError(409, "Conflict", message, {"causes": list(causes)})


def invalid(resource: ResourceName, name: str, errors: Sequence[FieldError]) -> StatusError:
    """Say what is wrong with the object, field by field; 422."""
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    message = f"{kind} {quote(name)} is invalid"
    texts = list(dict.fromkeys(str(error) for error in errors))
    if len(texts) == 1:
        message += f": {texts[0]}"
    elif texts:
        message += f": [{', '.join(texts)}]"
    details: JsonObject = {"name": name} if name else {}
    if resource.group:
        details["group"] = resource.group
    details["kind"] = resource.kind
    details["causes"] = [error.to_cause() for error in errors]
    return StatusError(422, "Invalid", message, details)


def bad_request(message: str) -> StatusError:
    return StatusError(400, "BadRequest", message)


def unauthorized(message: str = "Unauthorized") -> StatusError:
    return StatusError(401, "Unauthorized", message)


def forbidden(resource: ResourceName | None, name: str, text: str) -> StatusError:
    """Say that policy refuses; `resource` is None for requests outside resources."""
    if resource is None:
        return StatusError(403, "Forbidden", f"forbidden: {text}", {})
    subject = f"{_qualified(resource)} {quote(name)}" if name else _qualified(resource)
    details = _details(resource, name)
    return StatusError(403, "Forbidden", f"{subject} is forbidden: {text}", details)


def namespace_terminating(resource: ResourceName, name: str, namespace: str) -> StatusError:
    text = f"unable to create new content in namespace {namespace} because it is being terminated"
    error = forbidden(resource, name, text)
    cause = {
        "reason": "NamespaceTerminating",
        "message": f"namespace {namespace} is being terminated",
        "field": "metadata.namespace",
    }
    error.details = {**(error.details or {}), "causes": [cause]}
    return error


def method_not_allowed() -> StatusError:
    message = "the server does not allow this method on the requested resource"
    return StatusError(405, "MethodNotAllowed", message, {})


def method_not_supported(resource: ResourceName, action: str) -> StatusError:
    message = f"{action} is not supported on resources of kind {quote(_qualified(resource))}"
    return StatusError(405, "MethodNotAllowed", message, _details(resource, ""))


def not_acceptable(accepted: Sequence[str]) -> StatusError:
    message = f"only the following media types are accepted: {', '.join(accepted)}"
    return StatusError(406, "NotAcceptable", message)


def unsupported_media_type(accepted: Sequence[str]) -> StatusError:
    message = (
        "the body of the request was in an unknown format - accepted media types include: "
        + ", ".join(accepted)
    )
    return StatusError(415, "UnsupportedMediaType", message)


def expired(message: str) -> StatusError:
    """Say that a resource version or continue token is too old; clients list again."""
    return StatusError(410, "Expired", message)


def gone(message: str) -> StatusError:
    return StatusError(410, "Gone", message)


def timeout(message: str, retry_after_s: int = 0) -> StatusError:
    details: JsonObject = {"retryAfterSeconds": retry_after_s} if retry_after_s else {}
    return StatusError(504, "Timeout", f"Timeout: {message}", details)


def resource_version_too_large(requested: int, current: int) -> StatusError:
    error = timeout(f"Too large resource version: {requested}, current: {current}", 1)
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    error.details = {"causes": [cause], "retryAfterSeconds": 1}
    return error


def too_large(message: str) -> StatusError:
    text = f"Request entity too large: {message}"
    return StatusError(413, "RequestEntityTooLarge", text)


def too_many_requests(message: str, retry_after_s: int = 1) -> StatusError:
    return StatusError(429, "TooManyRequests", message, {"retryAfterSeconds": retry_after_s})


def service_unavailable(message: str) -> StatusError:
    return StatusError(503, "ServiceUnavailable", message)


def internal(message: str) -> StatusError:
    text = f"Internal error occurred: {message}"
    return StatusError(500, "InternalError", text, {"causes": [{"message": message}]})


def not_implemented(message: str) -> StatusError:
    """Say that this server has no such thing; 501, so that nobody takes it for a missing object."""
    return StatusError(501, "NotImplemented", message)
