"""Trim the published Kubernetes schemas to what the API server serves and validates by.

Input: the definitions of one Kubernetes version in the build-time package `kubernetes-validate`.
Output: `orchestrator/api/schemas/<version>.json.gz`, an object `{"version", "definitions"}` of
OpenAPI v3 component schemas: stable API versions only, nothing nullable, references as
`#/components/schemas/<name>`. The same input gives the same bytes.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
VERSION = "1.35.0"
TARGET = ROOT / "orchestrator" / "api" / "schemas" / f"{VERSION}.json.gz"
PREFIX = "#/components/schemas/"

UNSTABLE = re.compile(r"\.v\d+(alpha|beta)\d+\.")
SPECIAL: dict[str, dict[str, Any]] = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {
        "oneOf": [{"type": "string"}, {"type": "number"}]
    },
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {
        "oneOf": [{"type": "integer"}, {"type": "string"}],
        "format": "int-or-string",
    },
}
"""Types that JSON Schema cannot say in one `type`."""


def published(version: str) -> dict[str, Any]:
    """Read the definitions of one version from the installed package."""
    spec = importlib.util.find_spec("kubernetes_validate")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("the build needs the Python package kubernetes-validate")
    folder = Path(next(iter(spec.submodule_search_locations))) / "kubernetes-json-schema"
    path = folder / f"v{version}-local" / "_definitions.json"
    definitions: dict[str, Any] = json.loads(path.read_text())["$defs"]
    return definitions


def convert(schema: dict[str, Any]) -> dict[str, Any]:
    """Turn one JSON Schema of the package into the OpenAPI schema that it was made from."""
    made: dict[str, Any] = {}
    for key, value in schema.items():
        match key:
            case "type":
                made["type"] = value[0] if isinstance(value, list) else value
            case "properties":
                made["properties"] = {name: convert(below) for name, below in value.items()}
            case "items" | "additionalProperties" if isinstance(value, dict):
                made[key] = convert(value)
            case "$ref":
                made["$ref"] = PREFIX + value.rsplit("/", 1)[1]
            case "enum" if len(value) == 1:
                # The package pins apiVersion and kind; the served documents do not.
                continue
            case _:
                made[key] = value
    if "$ref" in made and len(made) > 1:
        made["allOf"] = [{"$ref": made.pop("$ref")}]
    return made


def trim(definitions: dict[str, Any]) -> dict[str, Any]:
    """Keep the stable versions, converted, in order of their names."""
    return {
        name: {**definition_head(schema), **SPECIAL.get(name, {})}
        if name in SPECIAL
        else convert(schema)
        for name, schema in sorted(definitions.items())
        if not UNSTABLE.search(name)
    }


def definition_head(schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": schema["description"]} if "description" in schema else {}


def main() -> None:
    """Write the file where it is absent or older than this script."""
    if TARGET.exists() and TARGET.stat().st_mtime >= Path(__file__).stat().st_mtime:
        return
    made = {"version": VERSION, "definitions": trim(published(VERSION))}
    text = json.dumps(made, sort_keys=True, separators=(",", ":"))
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    print(f"generated {TARGET.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
