"""Bodies of requests made objects: JSON, YAML and protobuf, with Kubernetes' field validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from orchestrator.api.conform import ConformError, conform
from orchestrator.api.errors import StatusError, bad_request, quote, unsupported_media_type
from orchestrator.api.json_object import JsonObject
from orchestrator.api.json_text import ParseError, parse_json
from orchestrator.api.schema import schema_of

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
MEDIA_TYPES = (JSON, YAML, PROTOBUF)
"""What `decode_object` reads."""

FieldValidation = Literal["Strict", "Warn", "Ignore"]
FIELD_VALIDATIONS = ("Ignore", "Strict", "Warn")

WARNINGS_MAX = 50
"""Texts that one decoded body yields at most; a header has a limit too."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """An object in the form of its schema, and texts for Warning headers."""

    obj: JsonObject
    warnings: tuple[str, ...] = ()


def decode_object(
    data: bytes,
    media_type: str,
    api_version: str,
    kind: str,
    field_validation: FieldValidation = "Warn",
) -> Decoded:
    """Read a body that should be an object of `api_version` and `kind`.

    `media_type` may carry parameters. Absent `apiVersion` and `kind` are filled in. Unknown and
    duplicate fields are refused (Strict), reported (Warn) or dropped silently (Ignore). Kinds
    without a published schema pass unchecked. StatusError 400 or 415.
    """
    obj, faults = parse_body(data, media_type, api_version, kind, field_validation != "Ignore")
    return check_object(obj, api_version, kind, field_validation, faults)


def parse_body(
    data: bytes, media_type: str, api_version: str, kind: str, find_duplicates: bool = True
) -> tuple[JsonObject, list[str]]:
    """Read a body without looking at its schema; return it and its duplicate fields' texts."""
    match media_type.partition(";")[0].strip().lower():
        case "application/json" | "":
            parse = parse_json
        case "application/yaml" | "text/yaml":
            from orchestrator.api.yaml_text import parse_yaml as parse
        case "application/vnd.kubernetes.protobuf":
            from orchestrator.api.protobuf import decode_protobuf

            return decode_protobuf(data, api_version, kind), []
        case _:
            raise unsupported_media_type(MEDIA_TYPES)
    try:
        obj, faults = parse(data, find_duplicates)
    except ParseError as error:
        raise bad_request(str(error)) from error
    if not isinstance(obj, dict):
        text = f"the object provided is unrecognized (must be of type {kind}): not an object"
        raise bad_request(text)
    return obj, faults


def check_object(
    obj: JsonObject,
    api_version: str,
    kind: str,
    field_validation: FieldValidation = "Warn",
    faults: list[str] | None = None,
) -> Decoded:
    """Bring a parsed or patched object into the form of its schema; it is changed in place.

    `faults` are texts of duplicate fields, found by parsing.
    """
    _check_type(obj, api_version, kind)
    faults = list(faults or ())
    schema = schema_of(api_version, kind)
    if schema is not None:
        try:
            unknown = conform(obj, schema)
        except ConformError as error:
            raise _cannot_handle(api_version, kind, str(error)) from error
        faults += [f"unknown field {quote(path)}" for path in unknown]
    if obj.get("metadata") is None:
        obj["metadata"] = {}
    if faults and field_validation == "Strict":
        text = f"strict decoding error: {', '.join(faults[:WARNINGS_MAX])}"
        raise _cannot_handle(api_version, kind, text)
    return Decoded(obj, tuple(faults[:WARNINGS_MAX]) if field_validation == "Warn" else ())


def _cannot_handle(api_version: str, kind: str, text: str) -> StatusError:
    version = api_version.rsplit("/", 1)[-1]
    return bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: {text}')


def _check_type(obj: JsonObject, api_version: str, kind: str) -> None:
    given_version = obj.get("apiVersion") or api_version
    given_kind = obj.get("kind") or kind
    if given_version != api_version:
        raise bad_request(
            f"the API version in the data ({given_version}) does not match "
            f"the expected API version ({api_version})"
        )
    if given_kind != kind:
        version = api_version.rsplit("/", 1)[-1]
        raise bad_request(
            f'{given_kind} in version "{version}" cannot be handled as a {kind}: '
            f"the kind in the data does not match the expected kind"
        )
    obj["apiVersion"], obj["kind"] = api_version, kind


def decode_delete_options(data: bytes, media_type: str) -> JsonObject:
    """Read the body of a DELETE, of whatever group version; an empty body gives no options."""
    if not data.strip():
        return {}
    obj, _ = parse_body(data, media_type, "v1", "DeleteOptions", find_duplicates=False)
    if obj.get("kind") not in (None, "", "DeleteOptions"):
        kind = obj["kind"]
        text = f'{kind} in version "v1" cannot be handled as a DeleteOptions: wrong kind'
        raise bad_request(text)
    obj["apiVersion"] = "v1"
    return check_object(obj, "v1", "DeleteOptions", "Ignore").obj
