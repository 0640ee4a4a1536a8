"""Refusals in Kubernetes' words, which clients and people match."""

from __future__ import annotations

import pytest

from orchestrator.api import errors
from orchestrator.api.errors import FieldError, StatusError
from orchestrator.api.resources import DEPLOYMENT, POD


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (errors.required("spec.x"), "spec.x: Required value"),
        (errors.required("spec.x", "why"), "spec.x: Required value: why"),
        (errors.invalid_value("a", "b", "c"), 'a: Invalid value: "b": c'),
        (errors.invalid_value("a", -1, "c"), "a: Invalid value: -1: c"),
        (errors.invalid_value("a", {"k": "v"}, "c"), 'a: Invalid value: {"k":"v"}: c'),
        (errors.duplicate("a[1].name", "x"), 'a[1].name: Duplicate value: "x"'),
        (errors.field_not_found("a", "x"), 'a: Not found: "x"'),
        (errors.field_forbidden("a", "no"), "a: Forbidden: no"),
        (
            errors.not_supported("p", "X", ["UDP", "TCP"]),
            'p: Unsupported value: "X": supported values: "TCP", "UDP"',
        ),
        (errors.too_long("d", 10), "d: Too long: may not be more than 10 bytes"),
        (errors.too_many("d", 5, 3), "d: Too many: 5: must have at most 3 items"),
    ],
)
def test_field_errors_read_as_go_writes_them(error: FieldError, text: str) -> None:
    assert str(error) == text


@pytest.mark.parametrize(
    ("error", "code", "reason", "message"),
    [
        (errors.not_found(POD, "x"), 404, "NotFound", 'pods "x" not found'),
        (errors.not_found(DEPLOYMENT, "x"), 404, "NotFound", 'deployments.apps "x" not found'),
        (errors.already_exists(POD, "x"), 409, "AlreadyExists", 'pods "x" already exists'),
        (
            errors.conflict(POD, "x"),
            409,
            "Conflict",
            'Operation cannot be fulfilled on pods "x": the object has been modified; please '
            "apply your changes to the latest version and try again",
        ),
        (
            errors.invalid(DEPLOYMENT, "x", [errors.required("a"), errors.required("b")]),
            422,
            "Invalid",
            'Deployment.apps "x" is invalid: [a: Required value, b: Required value]',
        ),
        (
            errors.forbidden(POD, "", 'User "u" cannot list resource "pods"'),
            403,
            "Forbidden",
            'pods is forbidden: User "u" cannot list resource "pods"',
        ),
        (
            errors.resource_version_too_large(9, 3),
            504,
            "Timeout",
            "Timeout: Too large resource version: 9, current: 3",
        ),
        (
            errors.method_not_allowed(),
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        ),
    ],
)
def test_status_errors(error: StatusError, code: int, reason: str, message: str) -> None:
    assert (error.code, error.reason, error.message) == (code, reason, message)
    status = error.to_status()
    assert status["kind"] == "Status"
    assert status["status"] == "Failure"
    assert StatusError.from_status(status).to_status() == status


def test_causes_name_reason_message_and_field() -> None:
    error = errors.invalid(POD, "x", [errors.required("spec.containers[0].image")])
    assert error.message == 'Pod "x" is invalid: spec.containers[0].image: Required value'
    assert error.to_status()["details"] == {
        "name": "x",
        "kind": "Pod",
        "causes": [
            {
                "reason": "FieldValueRequired",
                "message": "Required value",
                "field": "spec.containers[0].image",
            }
        ],
    }


def test_a_terminating_namespace_is_named_as_cause() -> None:
    details = errors.namespace_terminating(POD, "x", "ns").details
    assert details is not None
    assert details["causes"][0]["reason"] == "NamespaceTerminating"
