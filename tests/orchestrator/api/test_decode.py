"""Bodies made objects, with Kubernetes' field validation."""

from __future__ import annotations

import json

import pytest

from orchestrator.api.decode import decode_delete_options, decode_object
from orchestrator.api.errors import StatusError
from orchestrator.api.json_object import JsonObject


def decode(text: str, field_validation: str = "Strict", kind: str = "Deployment") -> JsonObject:
    version = "apps/v1" if kind == "Deployment" else "v1"
    made = decode_object(text.encode(), "application/json", version, kind, field_validation)  # type: ignore[arg-type]
    return made.obj


def refusal(text: str, field_validation: str = "Strict", kind: str = "Deployment") -> str:
    with pytest.raises(StatusError) as caught:
        decode(text, field_validation, kind)
    assert caught.value.code == 400
    return caught.value.message


PREFIX = 'Deployment in version "v1" cannot be handled as a Deployment: '


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"spec":{"foo":1}}', 'strict decoding error: unknown field "spec.foo"'),
        (
            '{"spec":{"template":{"spec":{"containers":[{"bar":1}]}}},"x":1}',
            'strict decoding error: unknown field "spec.template.spec.containers[0].bar", '
            'unknown field "x"',
        ),
        (
            '{"spec":{"replicas":1,"replicas":2}}',
            'strict decoding error: duplicate field "spec.replicas"',
        ),
        (
            '{"spec":{"replicas":"a"}}',
            "json: cannot unmarshal string into Go struct field "
            "DeploymentSpec.spec.replicas of type int32",
        ),
        (
            '{"spec":{"replicas":1.5}}',
            "json: cannot unmarshal number 1.5 into Go struct field "
            "DeploymentSpec.spec.replicas of type int32",
        ),
        (
            '{"spec":{"replicas":4294967296}}',
            "json: cannot unmarshal number 4294967296 into Go struct field "
            "DeploymentSpec.spec.replicas of type int32",
        ),
        (
            '{"spec":{"template":{"spec":{"containers":[{"env":[{"name":"a","value":1}]}]}}}}',
            "json: cannot unmarshal number into Go struct field "
            "EnvVar.spec.template.spec.containers.env.value of type string",
        ),
        (
            '{"spec":{"template":{"spec":{"containers":{}}}}}',
            "json: cannot unmarshal object into Go struct field "
            "PodSpec.spec.template.spec.containers of type []v1.Container",
        ),
        (
            '{"metadata":{"labels":{"a":true}}}',
            "json: cannot unmarshal bool into Go struct field "
            "ObjectMeta.metadata.labels of type string",
        ),
    ],
)
def test_faults_are_worded_as_go_words_them(text: str, message: str) -> None:
    assert refusal(text) == PREFIX + message


def test_warn_reports_and_ignore_drops() -> None:
    body = b'{"spec":{"foo":1,"replicas":1,"replicas":2}}'
    arguments = (body, "application/json", "apps/v1", "Deployment")
    warned = decode_object(*arguments, "Warn")
    assert warned.warnings == ('duplicate field "spec.replicas"', 'unknown field "spec.foo"')
    assert warned.obj["spec"] == {"replicas": 2}
    ignored = decode_object(*arguments, "Ignore")
    assert ignored.warnings == ()
    assert ignored.obj == warned.obj


def test_nulls_vanish_and_scalars_become_canonical() -> None:
    obj = decode(
        json.dumps(
            {
                "metadata": {
                    "creationTimestamp": None,
                    "annotations": {"a": None},
                    "deletionTimestamp": "2024-01-01T00:00:00.5+01:00",
                },
                "spec": {
                    "replicas": 2.0,
                    "template": {
                        "spec": {
                            "containers": [
                                {"resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}}}
                            ]
                        }
                    },
                },
            }
        )
    )
    assert obj["metadata"] == {
        "annotations": {"a": ""},
        "deletionTimestamp": "2023-12-31T23:00:00Z",
    }
    assert obj["spec"]["replicas"] == 2
    limits = obj["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits == {"cpu": "500m", "memory": "1Gi"}


def test_bad_scalars_are_refused() -> None:
    assert "illegal base64 data" in refusal('{"data":{"a":"%"}}', kind="Secret")
    limits = '{"resources":{"limits":{"cpu":"x"}}}'
    assert "quantities must match" in refusal(f'{{"spec":{{"containers":[{limits}]}}}}', kind="Pod")
    assert 'parsing time ""' in refusal('{"metadata":{"creationTimestamp":""}}', kind="Pod")


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', "{} {}", '{"a":NaN}', "[" * 100_000])
def test_what_is_no_object_is_refused(text: str) -> None:
    assert refusal(text)


def test_type_must_fit_the_path() -> None:
    assert refusal('{"apiVersion":"v1"}') == (
        "the API version in the data (v1) does not match the expected API version (apps/v1)"
    )
    assert "does not match the expected kind" in refusal('{"kind":"Pod"}')


def test_yaml_has_json_types_only() -> None:
    body = b"metadata: {name: a, labels: &l {d: 2020-01-01}, annotations: *l}\nspec: {replicas: 2}"
    made = decode_object(body, "application/yaml", "apps/v1", "Deployment", "Strict").obj
    assert made["metadata"]["labels"] == {"d": "2020-01-01"}
    assert made["metadata"]["labels"] is not made["metadata"]["annotations"]


def test_yaml_duplicates_are_faults() -> None:
    body = b"spec:\n  replicas: 1\n  replicas: 2\n"
    with pytest.raises(StatusError, match='line 3: key "replicas" already set in map'):
        decode_object(body, "application/yaml", "apps/v1", "Deployment", "Strict")


def test_yaml_aliases_do_not_explode() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(StatusError, match="excessive aliasing"):
        decode_object("\n".join(lines).encode(), "application/yaml", "v1", "ConfigMap")


def test_unknown_media_types_are_415() -> None:
    with pytest.raises(StatusError) as caught:
        decode_object(b"{}", "text/plain", "v1", "Pod")
    assert caught.value.code == 415


def test_delete_options_of_any_group_version() -> None:
    assert decode_delete_options(b"", "application/json") == {}
    body = b'{"apiVersion":"policy/v1","kind":"DeleteOptions","gracePeriodSeconds":0}'
    assert decode_delete_options(body, "application/json")["gracePeriodSeconds"] == 0
    with pytest.raises(StatusError):
        decode_delete_options(b'{"kind":"Pod"}', "application/json")
