"""A namespace that cannot go yet says what holds it: the cure for "stuck Terminating"."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from orchestrator.api.resources import CONFIG_MAP, DEPLOYMENT, NAMESPACE
from orchestrator.controllers.namespace import remaining_conditions

if TYPE_CHECKING:
    from tests.orchestrator.controllers.conftest import ControlPlane

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_conditions_name_what_remains_and_are_written_once() -> None:
    held = {"metadata": {"finalizers": ["example.com/hold"]}}
    remaining = {CONFIG_MAP: [held, held], DEPLOYMENT: [held]}
    conditions = remaining_conditions({}, remaining, ["secrets: no answer"], NOW)
    assert conditions is not None
    told = {c["type"]: (c["status"], c["message"]) for c in conditions}
    assert told == {
        "NamespaceDeletionContentFailure": (
            "True",
            "Failed to delete all resource types: secrets: no answer",
        ),
        "NamespaceContentRemaining": (
            "True",
            "Some resources are remaining: configmaps. has 2 resource instances, "
            "deployments.apps has 1 resource instances",
        ),
        "NamespaceFinalizersRemaining": (
            "True",
            "Some content in the namespace has finalizers remaining: "
            "example.com/hold in 3 resource instances",
        ),
    }
    namespace = {"status": {"conditions": conditions}}
    assert remaining_conditions(namespace, remaining, ["secrets: no answer"], NOW) is None


@pytest.mark.slow
async def test_a_held_namespace_goes_when_it_is_let_go(plane: ControlPlane) -> None:
    team = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}
    await plane.client.create(NAMESPACE, "", team)
    metadata = {"name": "held", "finalizers": ["example.com/hold"]}
    held = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    await plane.client.create(CONFIG_MAP, "team", held)
    await plane.client.delete(NAMESPACE, "", "team")

    async def says_so() -> bool:
        namespace = await plane.client.get(NAMESPACE, "", "team")
        conditions = namespace["status"].get("conditions") or ()
        return any("example.com/hold in 1" in c["message"] for c in conditions)

    await plane.until(says_so)
    let_go = {"metadata": {"finalizers": None}}
    await plane.client.patch(CONFIG_MAP, "team", "held", let_go)

    async def gone() -> bool:
        return "team" not in await plane.names(NAMESPACE, "")

    await plane.until(gone)
