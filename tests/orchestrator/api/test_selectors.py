"""Label and field selectors."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.errors import StatusError
from orchestrator.api.resources import NODE, POD
from orchestrator.api.selectors import FieldSelector, LabelSelector, SelectorError

LABELS = {"app": "web", "tier": "front", "n": "5", "empty": ""}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("app=web", True),
        ("app==web", True),
        ("app=db", False),
        ("app!=db", True),
        ("app!=web", False),
        ("missing!=x", True),
        ("app", True),
        ("missing", False),
        ("!missing", True),
        ("!app", False),
        ("app in (web,db)", True),
        ("app in (db)", False),
        ("app notin (db, x)", True),
        ("missing notin (a)", True),
        ("app in (web), tier=front,!gone", True),
        ("n>4", True),
        ("n<4", False),
        ("app>4", False),
        ("empty=", True),
        ("app=", False),
        ("empty in (,a)", True),
        ("example.com/x", False),
    ],
)
def test_label_selectors(text: str, matches: bool) -> None:
    selector = LabelSelector.parse(text)
    assert selector.matches(LABELS) is matches
    assert LabelSelector.parse(str(selector)).matches(LABELS) is matches


@pytest.mark.parametrize(
    "text", ["a=b=c", "a in", "a in (b", "in (b)x", ",", "a,", "a b", "=a", "a=-", "a>x", "a in b"]
)
def test_malformed_label_selectors_are_refused(text: str) -> None:
    with pytest.raises(SelectorError):
        LabelSelector.parse(text)


@given(st.text(alphabet="ab=!,()<> in", max_size=20))
def test_any_text_is_a_selector_or_a_selector_error(text: str) -> None:
    with suppress(SelectorError):
        LabelSelector.parse(text).matches(LABELS)


def test_selector_objects() -> None:
    selector = LabelSelector.from_object(
        {
            "matchLabels": {"app": "web"},
            "matchExpressions": [{"key": "tier", "operator": "In", "values": ["front", "back"]}],
        }
    )
    assert selector.matches(LABELS)
    assert not selector.matches({"app": "web"})
    assert str(selector) == "app=web,tier in (back,front)"
    assert LabelSelector.from_object({}).matches({})
    assert not LabelSelector.from_object(None).matches({})
    assert not LabelSelector.from_map({}).matches(LABELS)
    with pytest.raises(SelectorError, match="not a valid label selector operator"):
        LabelSelector.from_object({"matchExpressions": [{"key": "a", "operator": "Near"}]})


def test_field_selectors() -> None:
    fields = POD.strategy.fields(
        {
            "metadata": {"name": "a", "namespace": "ns"},
            "spec": {"nodeName": "n1"},
            "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}]},
        }
    )
    for text, expected in (
        ("", True),
        ("spec.nodeName=n1,status.phase!=Failed", True),
        ("spec.nodeName==n1,metadata.name=b", False),
        ("spec.hostNetwork=false", True),
        ("spec.nodeName=", False),
        ("status.podIPs=10.0.0.1", True),
    ):
        assert FieldSelector.parse(text, POD).matches(fields) is expected, text
    selector = FieldSelector.parse("metadata.name=a,spec.nodeName!=x", POD)
    assert selector.required("metadata.name") == "a"
    assert selector.required("spec.nodeName") is None


def test_unknown_fields_and_malformed_field_selectors() -> None:
    with pytest.raises(StatusError, match=r"field label not supported: spec\.foo"):
        FieldSelector.parse("spec.foo=x", POD)
    with pytest.raises(StatusError, match=r"field label not supported: metadata\.namespace"):
        FieldSelector.parse("metadata.namespace=x", NODE)
    with pytest.raises(SelectorError, match="can't understand 'foo'"):
        FieldSelector.parse("foo")
