"""A pod from its controller's template."""

from orchestrator.api.json_object import JsonObject, copy_json
from orchestrator.controllers.owner_reference import controller_reference


def pod_from_template(owner: JsonObject, template: JsonObject) -> JsonObject:
    """Make the pod that the template describes, controlled by `owner`.

    The name is left to the server: `<owner>-` and five random characters.
    """
    metadata = template.get("metadata") or {}
    pod_metadata: JsonObject = {
        # A longer base would be cut by the server without its dash.
        "generateName": f"{owner['metadata']['name'][:57]}-",
        "namespace": owner["metadata"]["namespace"],
        "ownerReferences": [controller_reference(owner)],
    }
    for field in ("labels", "annotations", "finalizers"):
        if metadata.get(field):
            pod_metadata[field] = copy_json(metadata[field])
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": pod_metadata,
        "spec": copy_json(template.get("spec") or {}),
    }
