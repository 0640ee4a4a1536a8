"""Read `--config-file`: etcd's YAML, whose keys are the flags' names.

The file replaces the command line and the environment altogether. Two of its keys hold the flags
of TLS under shorter names. Durations are Go's text (`100ms`) or, as etcd writes them, nanoseconds.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import yaml

from raftkv.flags import Flag, FlagError, Value, defaults, find_flag, take_value

__all__ = ["read_config_file"]

FILE_BYTES_MAX = 1 << 20

SECTIONS: dict[str, dict[str, str]] = {
    "client-transport-security": {
        "cert-file": "cert-file",
        "key-file": "key-file",
        "client-cert-file": "client-cert-file",
        "client-key-file": "client-key-file",
        "client-cert-auth": "client-cert-auth",
        "trusted-ca-file": "trusted-ca-file",
        "auto-tls": "auto-tls",
        "crl-file": "client-crl-file",
        "allowed-hostname": "client-cert-allowed-hostname",
    },
    "peer-transport-security": {
        "cert-file": "peer-cert-file",
        "key-file": "peer-key-file",
        "client-cert-file": "peer-client-cert-file",
        "client-key-file": "peer-client-key-file",
        "client-cert-auth": "peer-client-cert-auth",
        "trusted-ca-file": "peer-trusted-ca-file",
        "auto-tls": "peer-auto-tls",
        "crl-file": "peer-crl-file",
        "allowed-cn": "peer-cert-allowed-cn",
        "allowed-hostname": "peer-cert-allowed-hostname",
    },
}
"""Keys that hold others, and the flags that those stand for."""

OTHER_NAMES = {
    "grpc-keep-alive-min-time": "grpc-keepalive-min-time",
    "grpc-keep-alive-interval": "grpc-keepalive-interval",
    "grpc-keep-alive-timeout": "grpc-keepalive-timeout",
}
"""Keys that differ from their flag's name."""

PAST = frozenset({"ca-file"})
"""Keys of older versions' sample files, which ask for nothing here."""


def read_config_file(path: Path) -> dict[str, Value]:
    """Return a value for every used flag, by name. Raises FlagError with every problem at once."""
    document = _load(path)
    problems: list[str] = []
    values = defaults()
    for key, raw, flag in _settings(document, problems):
        text = _text(flag, raw)
        if text is None:
            problems.append(f"{path}: {key}: wants a {_WANTED[flag.type]}, not {raw!r}")
        else:
            take_value(flag, text, f"{path}: {key}", values, problems)
    if problems:
        raise FlagError(problems)
    return values


def _load(path: Path) -> dict[object, object]:
    """Parse the file. Raises FlagError."""
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise FlagError([f"--config-file: {path}: {error.strerror or error}"]) from error
    if len(content) > FILE_BYTES_MAX:
        raise FlagError([f"--config-file: {path} is larger than {FILE_BYTES_MAX} bytes"])
    try:
        document = yaml.safe_load(content)
    except yaml.YAMLError as error:
        text = " ".join(str(error).split())
        raise FlagError([f"--config-file: {path} is not YAML: {text}"]) from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise FlagError([f"--config-file: {path} is not a list of `flag: value` lines"])
    return cast(dict[object, object], document)


def _settings(
    document: dict[object, object], problems: list[str]
) -> Iterator[tuple[str, object, Flag]]:
    """Give each key with its value and the flag that it means; tell unknown ones."""
    for key, raw in document.items():
        name = str(key)
        if name in SECTIONS:
            if raw is None:
                continue
            if not isinstance(raw, dict):
                problems.append(f"{name}: wants keys below it, not {raw!r}")
                continue
            for inner, value in raw.items():
                yield from _setting(
                    f"{name}.{inner}", SECTIONS[name].get(str(inner), str(inner)), value, problems
                )
        else:
            yield from _setting(name, OTHER_NAMES.get(name, name), raw, problems)


def _setting(
    key: str, name: str, raw: object, problems: list[str]
) -> Iterator[tuple[str, object, Flag]]:
    if name in PAST or raw is None:
        return
    flag = find_flag(name)
    if flag is None or name == "config-file":
        problems.append(f"{key}: unknown key")
        return
    yield key, raw, flag


_WANTED = {str: "text", int: "whole number", bool: "true or false", float: "duration"}


def _text(flag: Flag, raw: object) -> str | None:
    """Return a YAML value as the command line would have it, None where its type does not fit."""
    match raw:
        case bool():
            return str(raw).lower() if flag.type is bool else None
        case int() if flag.type is float:
            return f"{raw}ns"
        case int() | float():
            return str(raw) if flag.type in (int, str) else None
        case str():
            return raw
        case list() if flag.type is str and all(isinstance(one, str) for one in raw):
            return ",".join(cast(list[str], raw))
        case _:
            return None
