"""Rules for names, labels, keys and ports, each returning texts in Kubernetes' words.

A rule takes a value and returns what is wrong with it: an empty list for a valid value. Lengths are
in bytes. Source: apimachinery's validation package.
"""

from __future__ import annotations

import re
from collections.abc import Callable

NameRule = Callable[[str], list[str]]

LABEL_LENGTH_MAX = 63
SUBDOMAIN_LENGTH_MAX = 253
PORT_NAME_LENGTH_MAX = 15

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = f"({_QUALIFIED})?"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"

_LABEL_RE = re.compile(_LABEL)
_SUBDOMAIN_RE = re.compile(_SUBDOMAIN)
_LABEL_1035_RE = re.compile(_LABEL_1035)
_QUALIFIED_RE = re.compile(_QUALIFIED)
_LABEL_VALUE_RE = re.compile(_LABEL_VALUE)
_CONFIG_KEY_RE = re.compile(_CONFIG_KEY)

_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
    "and must start and end with an alphanumeric character"
)
_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    "'.', and must start and end with an alphanumeric character"
)
_LABEL_1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an "
    "alphabetic character, and end with an alphanumeric character"
)
_QUALIFIED_TEXT = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character"
)
_LABEL_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or "
    "'.', and must start and end with an alphanumeric character"
)
_CONFIG_KEY_TEXT = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
_ENV_NAME_TEXT = (
    "a valid environment variable name must consist only of printable ASCII characters other "
    "than '='"
)


def _regex_error(text: str, pattern: str, *examples: str) -> str:
    shown = ",  or ".join(f"'{example}'" for example in examples)
    return f"{text} (e.g. {shown}, regex used for validation is '{pattern}')"


def _max_length(length_max: int) -> str:
    return f"must be no more than {length_max} bytes"


def _check(value: str, length_max: int, pattern: re.Pattern[str], error: str) -> list[str]:
    errors = []
    if len(value.encode()) > length_max:
        errors.append(_max_length(length_max))
    if pattern.fullmatch(value) is None:
        errors.append(error)
    return errors


def dns_label(value: str) -> list[str]:
    """RFC 1123 label: names of namespaces, containers, volumes."""
    error = _regex_error(_LABEL_TEXT, _LABEL, "my-name", "123-abc")
    return _check(value, LABEL_LENGTH_MAX, _LABEL_RE, error)


def dns_subdomain(value: str) -> list[str]:
    """RFC 1123 subdomain: names of most objects."""
    error = _regex_error(_SUBDOMAIN_TEXT, _SUBDOMAIN, "example.com")
    return _check(value, SUBDOMAIN_LENGTH_MAX, _SUBDOMAIN_RE, error)


def dns_1035_label(value: str) -> list[str]:
    """RFC 1035 label: names of services."""
    error = _regex_error(_LABEL_1035_TEXT, _LABEL_1035, "my-name", "abc-123")
    return _check(value, LABEL_LENGTH_MAX, _LABEL_1035_RE, error)


def path_segment(value: str) -> list[str]:
    """Anything that a URL can hold between two slashes: names of RBAC objects."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{sign}'" for sign in "/%" if sign in value]


def qualified_name(value: str) -> list[str]:
    """A label or annotation key, a finalizer, a resource name: `[prefix/]name`."""
    errors = []
    parts = value.split("/")
    if len(parts) > 2:
        text = _regex_error(
            f"a qualified name {_QUALIFIED_TEXT}", _QUALIFIED, "MyName", "my.name", "123-abc"
        )
        return [f"{text} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"]
    if len(parts) == 2:
        if not parts[0]:
            errors.append("prefix part must be non-empty")
        else:
            errors += [f"prefix part {text}" for text in dns_subdomain(parts[0])]
    name = parts[-1]
    if not name:
        errors.append("name part must be non-empty")
    elif len(name.encode()) > LABEL_LENGTH_MAX:
        errors.append(f"name part {_max_length(LABEL_LENGTH_MAX)}")
    if _QUALIFIED_RE.fullmatch(name) is None:
        text = _regex_error(_QUALIFIED_TEXT, _QUALIFIED, "MyName", "my.name", "123-abc")
        errors.append(f"name part {text}")
    return errors


def label_value(value: str) -> list[str]:
    error = _regex_error(_LABEL_VALUE_TEXT, _LABEL_VALUE, "MyValue", "my_value", "12345")
    return _check(value, LABEL_LENGTH_MAX, _LABEL_VALUE_RE, error)


def config_key(value: str) -> list[str]:
    """A key of a ConfigMap or Secret: a file name that stays in its folder."""
    error = _regex_error(_CONFIG_KEY_TEXT, _CONFIG_KEY, "key.name", "KEY_NAME", "key-name")
    errors = _check(value, SUBDOMAIN_LENGTH_MAX, _CONFIG_KEY_RE, error)
    if value in (".", ".."):
        errors.append(f"must not be '{value}'")
    elif value.startswith(".."):
        errors.append("must not start with '..'")
    return errors


def env_var_name(value: str) -> list[str]:
    if not value or any(not " " <= sign <= "~" or sign == "=" for sign in value):
        return [_ENV_NAME_TEXT]
    return []


def port_name(value: str) -> list[str]:
    """An IANA service name: names of container ports, and target ports by name."""
    errors = []
    if len(value) > PORT_NAME_LENGTH_MAX:
        errors.append(_max_length(PORT_NAME_LENGTH_MAX))
    if not re.fullmatch("[-a-z0-9]+", value):
        errors.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", value):
        errors.append("must contain at least one letter (a-z)")
    if "--" in value:
        errors.append("must not contain consecutive hyphens")
    if value.startswith("-") or value.endswith("-"):
        errors.append("must not begin or end with a hyphen")
    return errors


def port_number(value: int) -> list[str]:
    return [] if 1 <= value <= 65535 else ["must be between 1 and 65535, inclusive"]
