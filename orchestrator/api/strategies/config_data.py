"""ConfigMaps and Secrets: keys, sizes, types, immutability."""

from __future__ import annotations

import base64
from collections.abc import Iterable

from orchestrator.api.errors import (
    FieldError,
    field_forbidden,
    invalid_value,
    required,
    too_long,
)
from orchestrator.api.json_object import JsonObject, nested, set_default_text
from orchestrator.api.names import config_key
from orchestrator.api.object_meta import immutable
from orchestrator.api.strategy import Strategy

DATA_SIZE_BYTES_MAX = 1024 * 1024
IMMUTABLE_TEXT = "field is immutable when `immutable` is set"

REQUIRED_KEYS: dict[str, tuple[str, ...]] = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}
"""Secret type -> keys that its data must have."""

SERVICE_ACCOUNT_TOKEN = "kubernetes.io/service-account-token"
SERVICE_ACCOUNT_NAME = "kubernetes.io/service-account.name"


class _DataStrategy(Strategy):
    """Objects that are maps of data, and may be frozen."""

    data_fields: tuple[str, ...] = ("data",)

    def __init__(self) -> None:
        super().__init__(has_status=False, has_generation=False)

    def validate_kind_update(self, new: JsonObject, old: JsonObject) -> list[FieldError]:
        errors = self.validate_kind(new)
        if not old.get("immutable"):
            return errors
        if not new.get("immutable"):
            errors.append(field_forbidden("immutable", IMMUTABLE_TEXT))
        for name in self.data_fields:
            if (new.get(name) or {}) != (old.get(name) or {}):
                errors.append(field_forbidden(name, IMMUTABLE_TEXT))
        return errors


def _validate_keys(obj: JsonObject, fields: Iterable[str]) -> list[FieldError]:
    errors = []
    for field in fields:
        for key in obj.get(field) or {}:
            for text in config_key(key):
                errors.append(invalid_value(f"{field}[{key}]", key, text))
    return errors


def _base64_size(text: str) -> int:
    """Bytes that valid base64 stands for."""
    return len(text) * 3 // 4 - text.count("=")


class ConfigMapStrategy(_DataStrategy):
    data_fields = ("data", "binaryData")

    def validate_kind(self, obj: JsonObject) -> list[FieldError]:
        errors = _validate_keys(obj, self.data_fields)
        data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
        for key in data.keys() & binary.keys():
            text = "duplicate of key present in binaryData"
            errors.append(invalid_value(f"data[{key}]", key, text))
        size_bytes = sum(len(value.encode()) for value in data.values())
        size_bytes += sum(map(_base64_size, binary.values()))
        if size_bytes > DATA_SIZE_BYTES_MAX:
            errors.append(too_long("", DATA_SIZE_BYTES_MAX))
        return errors


class SecretStrategy(_DataStrategy):
    selectable_fields = frozenset({"type"})

    def default(self, obj: JsonObject) -> None:
        """Also merge the write-only `stringData` into `data`."""
        set_default_text(obj, "type", "Opaque")
        texts = obj.pop("stringData", None)
        if texts:
            data = obj.get("data") or {}
            obj["data"] = data
            for key, value in texts.items():
                data[key] = base64.b64encode(value.encode()).decode()

    def validate_kind(self, obj: JsonObject) -> list[FieldError]:
        errors = _validate_keys(obj, self.data_fields)
        data = obj.get("data") or {}
        if sum(map(_base64_size, data.values())) > DATA_SIZE_BYTES_MAX:
            errors.append(too_long("data", DATA_SIZE_BYTES_MAX))
        kind = obj["type"]
        errors += [
            required(f"data[{key}]") for key in REQUIRED_KEYS.get(kind, ()) if key not in data
        ]
        if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & data.keys():
            errors += [required("data[username]"), required("data[password]")]
        if kind == SERVICE_ACCOUNT_TOKEN and not (
            nested(obj, "metadata", "annotations", SERVICE_ACCOUNT_NAME)
        ):
            errors.append(required(f"metadata.annotations[{SERVICE_ACCOUNT_NAME}]"))
        return errors

    def validate_kind_update(self, new: JsonObject, old: JsonObject) -> list[FieldError]:
        errors = super().validate_kind_update(new, old)
        return errors + immutable(new.get("type"), old.get("type"), "type")
