"""Label selectors and field selectors: the string forms of URLs, and LabelSelector objects."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from orchestrator.api.errors import bad_request, quote
from orchestrator.api.json_object import JsonObject
from orchestrator.api.names import label_value, qualified_name
from orchestrator.api.resource import Resource


class SelectorError(ValueError):
    """The text or object is not a selector; the message is Kubernetes'."""


class Operator(Enum):
    """How a requirement compares, as LabelSelector objects spell it."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"
    GREATER = "Gt"
    LESS = "Lt"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case Operator.IN:
                return value is not None and value in self.values
            case Operator.NOT_IN:
                return value is None or value not in self.values
            case Operator.EXISTS:
                return value is not None
            case Operator.DOES_NOT_EXIST:
                return value is None
            case Operator.GREATER | Operator.LESS:
                return self._compare(value)

    def _compare(self, value: str | None) -> bool:
        try:
            number, bound = int(value or ""), int(self.values[0])
        except ValueError:
            return False
        return number > bound if self.operator is Operator.GREATER else number < bound

    def __str__(self) -> str:
        match self.operator:
            case Operator.IN if len(self.values) == 1:
                return f"{self.key}={self.values[0]}"
            case Operator.IN:
                return f"{self.key} in ({','.join(sorted(self.values))})"
            case Operator.NOT_IN if len(self.values) == 1:
                return f"{self.key}!={self.values[0]}"
            case Operator.NOT_IN:
                return f"{self.key} notin ({','.join(sorted(self.values))})"
            case Operator.EXISTS:
                return self.key
            case Operator.DOES_NOT_EXIST:
                return f"!{self.key}"
            case Operator.GREATER:
                return f"{self.key}>{self.values[0]}"
            case Operator.LESS:
                return f"{self.key}<{self.values[0]}"


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """Conditions that labels must all meet; none at all selects everything."""

    requirements: tuple[Requirement, ...] = ()
    selects_nothing: bool = False

    @classmethod
    def parse(cls, text: str | None) -> LabelSelector:
        """Read the form of `labelSelector=`; SelectorError where it is malformed."""
        return cls(tuple(_LabelParser(text).parse())) if text else cls()

    @classmethod
    def from_object(cls, selector: JsonObject | None) -> LabelSelector:
        """Read a LabelSelector object. An absent one selects nothing, an empty one everything."""
        if selector is None:
            return cls(selects_nothing=True)
        found = [
            Requirement(key, Operator.IN, (value,))
            for key, value in (selector.get("matchLabels") or {}).items()
        ]
        for row in selector.get("matchExpressions") or ():
            try:
                operator = Operator(row.get("operator"))
            except ValueError as error:
                text = f"{quote(str(row.get('operator')))} is not a valid label selector operator"
                raise SelectorError(text) from error
            values = tuple(row.get("values") or ())
            found.append(Requirement(row.get("key") or "", operator, values))
        return cls(tuple(found))

    @classmethod
    def from_map(cls, labels: Mapping[str, str] | None) -> LabelSelector:
        """Read a plain map of labels, the selector of services; an empty one selects nothing."""
        if not labels:
            return cls(selects_nothing=True)
        return cls(tuple(Requirement(k, Operator.IN, (v,)) for k, v in labels.items()))

    @property
    def is_everything(self) -> bool:
        return not self.requirements and not self.selects_nothing

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        if self.selects_nothing:
            return False
        return all(requirement.matches(labels or {}) for requirement in self.requirements)

    def __str__(self) -> str:
        return ",".join(map(str, sorted(self.requirements, key=lambda row: row.key)))


_TOKEN_RE = re.compile(r"\s*(==|!=|[=,()!<>]|[^\s=,()!<>]+)")
_END = ""


class _LabelParser:
    """A recursive-descent parser of `a=b,c in (d,e),!f,g notin (h),i,j!=k,l>1`."""

    def __init__(self, text: str) -> None:
        self.tokens: list[str] = _TOKEN_RE.findall(text)
        self.at = 0

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else _END

    def take(self) -> str:
        token = self.peek()
        self.at += 1
        return token

    def parse(self) -> list[Requirement]:
        found = [self.requirement()]
        while self.peek() == ",":
            self.take()
            if self.peek() == _END:
                raise _parse_error("found '', expected: identifier after ','")
            found.append(self.requirement())
        if self.peek() != _END:
            raise _parse_error(f"found '{self.peek()}', expected: ',' or 'end of string'")
        return found

    def requirement(self) -> Requirement:
        if self.peek() == "!":
            self.take()
            return _requirement(self.key(), Operator.DOES_NOT_EXIST, ())
        key = self.key()
        match self.peek():
            case "" | ",":
                return _requirement(key, Operator.EXISTS, ())
            case "=" | "==":
                self.take()
                return _requirement(key, Operator.IN, (self.value(),))
            case "!=":
                self.take()
                return _requirement(key, Operator.NOT_IN, (self.value(),))
            case ">" | "<" as sign:
                self.take()
                operator = Operator.GREATER if sign == ">" else Operator.LESS
                return _requirement(key, operator, (self.value(),))
            case "in" | "notin" as word:
                self.take()
                operator = Operator.IN if word == "in" else Operator.NOT_IN
                return _requirement(key, operator, self.values())
            case token:
                text = "in, notin, =, ==, !=, gt, lt"
                raise _parse_error(f"found '{token}', expected: {text}")

    def key(self) -> str:
        token = self.take()
        if token == _END or token in "=,()!<>" or token in ("==", "!="):
            raise _parse_error(f"found '{token}', expected: !, identifier, or 'end of string'")
        return token

    def value(self) -> str:
        if self.peek() in ("", ","):
            return ""
        token = self.take()
        if token in ("=", "==", "!=", "(", ")", "!", "<", ">"):
            raise _parse_error(f"found '{token}', expected: identifier")
        return token

    def values(self) -> tuple[str, ...]:
        if self.take() != "(":
            raise _parse_error("found '', expected: '('")
        found: list[str] = []
        while True:
            if self.peek() in (",", ")"):
                found.append("")
            else:
                found.append(self.value())
            match self.take():
                case ")":
                    return tuple(dict.fromkeys(found))
                case ",":
                    continue
                case token:
                    raise _parse_error(f"found '{token}', expected: ',' or ')'")


def _parse_error(text: str) -> SelectorError:
    return SelectorError(f"unable to parse requirement: {text}")


def _requirement(key: str, operator: Operator, values: tuple[str, ...]) -> Requirement:
    for text in qualified_name(key):
        raise SelectorError(
            f"unable to parse requirement: <nil>: Invalid value: {quote(key)}: {text}"
        )
    if operator in (Operator.GREATER, Operator.LESS):
        if not re.fullmatch(r"-?\d+", values[0]):
            text = "for 'Gt', 'Lt' operators, the value must be an integer"
            raise SelectorError(f"values[0][{key}]: Invalid value: {quote(values[0])}: {text}")
    else:
        for index, value in enumerate(values):
            for text in label_value(value):
                raise SelectorError(
                    "unable to parse requirement: "
                    f"values[{index}][{key}]: Invalid value: {quote(value)}: {text}"
                )
    return Requirement(key, operator, values)


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """Conditions `field=value` or `field!=value`, all of which must hold."""

    requirements: tuple[tuple[str, bool, str], ...] = ()
    """(field, whether it must equal, value)."""

    @classmethod
    def parse(cls, text: str | None, resource: Resource | None = None) -> FieldSelector:
        """Read the form of `fieldSelector=`.

        SelectorError where it is malformed; StatusError 400 where `resource` is given and does
        not offer the field.
        """
        found = []
        for term in _split_terms(text or ""):
            match = re.match(r"((?:[^\\=!]|\\.|!(?!=))*)(!=|==|=)", term)
            if match is None:
                raise SelectorError(f"invalid selector: '{term}'; can't understand '{term}'")
            field, operator = match[1], match[2]
            found.append((field, operator != "!=", _unescape(term[match.end() :])))
            if resource is not None and field not in _selectable(resource):
                raise bad_request(f"field label not supported: {field}")
        return cls(tuple(found))

    @property
    def is_everything(self) -> bool:
        return not self.requirements

    def matches(self, fields: Mapping[str, str]) -> bool:
        return all(
            (fields.get(field, "") == value) is equal for field, equal, value in self.requirements
        )

    def required(self, field: str) -> str | None:
        """The value that `field` must equal, or None where the selector does not fix it."""
        for name, equal, value in self.requirements:
            if name == field and equal:
                return value
        return None

    def __str__(self) -> str:
        return ",".join(f"{f}{'=' if equal else '!='}{v}" for f, equal, v in self.requirements)


def _selectable(resource: Resource) -> frozenset[str]:
    always = {"metadata.name", "metadata.namespace"} if resource.namespaced else {"metadata.name"}
    return resource.strategy.selectable_fields | always


def _split_terms(text: str) -> list[str]:
    return [term for term in re.findall(r"(?:[^\\,]|\\.)+", text) if term.strip()]


def _unescape(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value)
