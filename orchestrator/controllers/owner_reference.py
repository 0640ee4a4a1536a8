"""Who owns an object, and the one owner that controls it."""

from orchestrator.api.json_object import JsonObject

BY_CONTROLLER = "controller"
"""Index of objects by the uid of their controller; orphans stand under `orphans_of(namespace)`."""
BY_OWNER = "owner"
"""Index of objects by the uid of each owner."""


def controller_of(obj: JsonObject) -> JsonObject | None:
    """Return the owner reference marked as controller, or None for an orphan."""
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            found: JsonObject = reference
            return found
    return None


def controller_reference(owner: JsonObject) -> JsonObject:
    """Make the reference that a child of `owner` carries; the owner must have kind and uid."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def index_by_controller(obj: JsonObject) -> tuple[str, ...]:
    """Index function of BY_CONTROLLER."""
    reference = controller_of(obj)
    if reference is not None:
        return (reference["uid"],)
    return (orphans_of(obj["metadata"].get("namespace", "")),)


def orphans_of(namespace: str) -> str:
    """Value of BY_CONTROLLER for a namespace's objects without a controller: no uid has a /."""
    return f"/{namespace}"


def index_by_owner(obj: JsonObject) -> list[str]:
    """Index function of BY_OWNER."""
    references = obj["metadata"].get("ownerReferences") or ()
    return [reference["uid"] for reference in references]
