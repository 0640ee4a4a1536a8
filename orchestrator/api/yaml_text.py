"""YAML text made JSON objects: one document, JSON's types only, aliases copied and bounded."""

from __future__ import annotations

from typing import Any

import yaml

from orchestrator.api.json_text import ParseError

NODES_MAX = 250_000
"""Values in one document after aliases are expanded."""

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    """Safe YAML without timestamps, which JSON has not; remembers duplicate keys."""

    yaml_implicit_resolvers = {
        sign: [(tag, regex) for tag, regex in rows if tag != "tag:yaml.org,2002:timestamp"]
        for sign, rows in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, stream: bytes) -> None:
        super().__init__(stream)
        self.duplicates: list[str] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = str(key_node.value)
            if key in seen:
                line = key_node.start_mark.line + 1
                self.duplicates.append(f'line {line}: key "{key}" already set in map')
            seen.add(key)
        made: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return made


def parse_yaml(data: bytes, find_duplicates: bool) -> tuple[Any, list[str]]:
    """Return the only document's value and a text for each duplicate key; the last value is kept.

    ParseError for what is not YAML, has no JSON form, or grows too large by aliases.
    """
    loader = _Loader(data)
    try:
        value = loader.get_single_data()
    except (yaml.YAMLError, RecursionError) as error:
        text = " ".join(str(error).split())
        raise ParseError(f"error converting YAML to JSON: yaml: {text}") from error
    finally:
        loader.dispose()
    faults = [f"error converting YAML to JSON: yaml: {text}" for text in loader.duplicates]
    return _Copy().copy(value, 0), faults if find_duplicates else []


class _Copy:
    """Copies a loaded value, so that two aliases of one node become two values."""

    def __init__(self) -> None:
        self.nodes = 0

    def copy(self, value: Any, depth: int) -> Any:
        self.nodes += 1
        if self.nodes > NODES_MAX or depth > 500:
            text = "error converting YAML to JSON: yaml: document contains excessive aliasing"
            raise ParseError(text)
        match value:
            case None | bool() | str() | int():
                return value
            case float():
                if value != value or value in (float("inf"), float("-inf")):
                    raise ParseError(f"error converting YAML to JSON: {value} has no JSON form")
                return value
            case dict():
                return {_key(key): self.copy(below, depth + 1) for key, below in value.items()}
            case list():
                return [self.copy(below, depth + 1) for below in value]
            case _:
                name = type(value).__name__
                raise ParseError(f"error converting YAML to JSON: {name} has no JSON form")


def _key(key: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, (str, int, float)):
        return str(key)
    raise ParseError("error converting YAML to JSON: a key is not a scalar")
