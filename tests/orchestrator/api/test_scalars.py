"""Quantities, percentages, times, durations, names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.api import names, quantity
from orchestrator.api.int_or_string import scaled_value
from orchestrator.api.times import (
    age,
    format_micro_time,
    format_time,
    human_duration,
    parse_time,
)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0.5", "500m"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("1000", "1k"),
        ("100m", "100m"),
        ("1e3", "1e3"),
        ("0", "0"),
        ("1000m", "1"),
        ("0.1", "100m"),
        ("512Ki", "512Ki"),
        ("-5", "-5"),
        ("+5", "5"),
        (".5", "500m"),
        ("1E", "1E"),
        ("0.0000000001", "1n"),
    ],
)
def test_quantities_become_canonical(text: str, canonical: str) -> None:
    assert quantity.canonical(text) == canonical
    assert quantity.canonical(canonical) == canonical


@pytest.mark.parametrize("text", ["", "1ki", "1.2.3", "abc", "1 Gi", "0x1", "1mi", "--1", "."])
def test_other_texts_are_no_quantities(text: str) -> None:
    with pytest.raises(quantity.QuantityError, match="must match the regular expression"):
        quantity.canonical(text)


def test_quantities_compare_by_value() -> None:
    assert quantity.compare("1Gi", "1024Mi") == 0
    assert quantity.compare("1500m", "1") == 1
    assert quantity.compare("1M", "1Mi") == -1
    assert quantity.milli_value("0.0001") == 1
    assert quantity.value("1500m") == 2


@pytest.mark.parametrize(
    ("value", "total", "up", "down"), [(3, 10, 3, 3), ("25%", 10, 3, 2), ("0%", 10, 0, 0)]
)
def test_percentages_round_as_asked(value: int | str, total: int, up: int, down: int) -> None:
    assert scaled_value(value, total, round_up=True) == up
    assert scaled_value(value, total, round_up=False) == down
    with pytest.raises(ValueError, match="not a percentage"):
        scaled_value("x", total, round_up=True)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (600, "10m"),
        (3 * 3600 - 1, "179m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 120, "3h2m"),
        (8 * 3600, "8h"),
        (47 * 3600, "47h"),
        (48 * 3600, "2d"),
        (50 * 3600, "2d2h"),
        (8 * 86400, "8d"),
        (700 * 86400, "700d"),
        (730 * 86400, "2y"),
        (800 * 86400, "2y70d"),
        (9 * 365 * 86400, "9y"),
        (-5, "<invalid>"),
    ],
)
def test_durations_have_two_units_at_most(seconds: int, text: str) -> None:
    assert human_duration(timedelta(seconds=seconds)) == text


def test_times() -> None:
    moment = parse_time("2024-01-02T03:04:05.123456789+01:00")
    assert moment == datetime(2024, 1, 2, 2, 4, 5, 123456, UTC)
    assert format_time(moment) == "2024-01-02T02:04:05Z"
    assert format_micro_time(moment) == "2024-01-02T02:04:05.123456Z"
    for text in ("", "2024-01-02", "2024-01-02T03:04:05", "yesterday"):
        with pytest.raises(ValueError, match="RFC 3339"):
            parse_time(text)
    assert age(None, moment) == "<unknown>"
    assert age("2024-01-02T02:03:05Z", moment) == "60s"


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        (names.dns_label, ["a", "a-1", "1a", "x" * 63], ["", "A", "-a", "a.b", "x" * 64]),
        (names.dns_subdomain, ["a.b", "a"], ["a..b", "A", ".a", "a" * 254]),
        (names.dns_1035_label, ["a1"], ["1a", "a."]),
        (names.qualified_name, ["a", "k8s.io/a_b", "A.b"], ["", "/a", "a/", "a/b/c", "a b"]),
        (names.label_value, ["", "a", "A_b"], ["-a", "a b", "x" * 64]),
        (names.config_key, ["a.b", "_"], ["", ".", "..", "..a", "a/b"]),
        (names.port_name, ["http", "a-1"], ["1", "a--b", "-a", "x" * 16, "A"]),
        (names.env_var_name, ["A", "a.b", "a b"], ["", "a=b", "a\n"]),
    ],
)
def test_name_rules(rule: names.NameRule, good: list[str], bad: list[str]) -> None:
    assert [value for value in good if rule(value)] == []
    assert [value for value in bad if not rule(value)] == []
