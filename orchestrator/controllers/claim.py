"""Carry out changes of ownership."""

from orchestrator.api.errors import StatusError
from orchestrator.api.json_object import JsonObject
from orchestrator.api.resources import Resource
from orchestrator.client.rest_client import STRATEGIC_MERGE_PATCH, RestClient
from orchestrator.controllers.owner_reference import controller_reference
from orchestrator.controllers.replica_plan import Claims


async def claim(
    client: RestClient,
    owner_resource: Resource,
    child_resource: Resource,
    owner: JsonObject,
    claims: Claims,
) -> list[JsonObject]:
    """Adopt and release, and return the children that are the owner's afterwards.

    Before the first adoption the owner is read from the server itself: a cache may still show an
    owner that is gone or leaving, and adopting for it would hand live children to the garbage
    collector. Raises StatusError 409 in that case; the key is then tried again.
    """
    owned = list(claims.owned)
    namespace = owner["metadata"]["namespace"]
    if claims.adopt:
        fresh = await client.get(owner_resource, namespace, owner["metadata"]["name"])
        same = fresh["metadata"]["uid"] == owner["metadata"]["uid"]
        if not same or "deletionTimestamp" in fresh["metadata"]:
            name = owner["metadata"]["name"]
            raise StatusError(409, "Conflict", f"{name} may no longer adopt: it is being deleted")
    for child in claims.adopt:
        patch = {
            "metadata": {
                "uid": child["metadata"]["uid"],
                "ownerReferences": [controller_reference(owner)],
            }
        }
        name = child["metadata"]["name"]
        owned.append(
            await client.patch(child_resource, namespace, name, patch, STRATEGIC_MERGE_PATCH)
        )
    for child in claims.release:
        reference = {"$patch": "delete", "uid": owner["metadata"]["uid"]}
        patch = {"metadata": {"uid": child["metadata"]["uid"], "ownerReferences": [reference]}}
        try:
            await client.patch(
                child_resource, namespace, child["metadata"]["name"], patch, STRATEGIC_MERGE_PATCH
            )
        except StatusError as exc:
            if exc.code not in (404, 409, 422):
                raise  # gone, or another's by now: no longer ours either way
    return owned
