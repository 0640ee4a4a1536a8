"""Which form of an answer the client accepts, and which form a body has."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from orchestrator.api import errors

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
BODY_TYPES = (JSON, YAML, PROTOBUF)

PATCH_TYPES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)


class Form(Enum):
    """How objects are shown."""

    OBJECT = ""
    TABLE = "Table"
    PARTIAL = "PartialObjectMetadata"
    PARTIAL_LIST = "PartialObjectMetadataList"


@dataclass(frozen=True, slots=True)
class MediaType:
    """One clause of an Accept header; `quality` orders them, ties by position."""

    type: str
    parameters: dict[str, str]


@dataclass(frozen=True, slots=True)
class Output:
    """The chosen form. `version` is meta.k8s.io's, for forms other than OBJECT."""

    form: Form
    version: str
    yaml: bool

    @property
    def content_type(self) -> str:
        base = YAML if self.yaml else JSON
        if self.form is Form.OBJECT:
            return base
        return f"{base};as={self.form.value};g=meta.k8s.io;v={self.version}"


PLAIN = Output(Form.OBJECT, "", yaml=False)


def parse_accept(header: str) -> list[MediaType]:
    """Split an Accept header into its clauses, in the order of preference."""
    clauses: list[tuple[float, MediaType]] = []
    for part in header.split(","):
        kind, *rest = (piece.strip() for piece in part.split(";"))
        if not kind:
            continue
        parameters = {
            name.strip(): value.strip().strip('"')
            for name, _, value in (piece.partition("=") for piece in rest)
        }
        try:
            quality = float(parameters.pop("q", "1"))
        except ValueError:
            quality = 1.0
        clauses.append((quality, MediaType(kind.lower(), parameters)))
    clauses.sort(key=lambda clause: -clause[0])
    return [clause for _, clause in clauses]


def choose_output(header: str | None, *, single: bool) -> Output:
    """Pick the first acceptable clause; StatusError 406 when there is none.

    `single` says that the answer is one object, not a list: the partial form is named after it.
    """
    if not header:
        return PLAIN
    for media in parse_accept(header):
        output = _offer(media, single)
        if output is not None:
            return output
    raise errors.not_acceptable(BODY_TYPES)


def _offer(media: MediaType, single: bool) -> Output | None:
    if media.type not in (JSON, YAML, "application/*", "*/*"):
        return None
    yaml = media.type == YAML
    form = media.parameters.get("as")
    if form is None:
        return Output(Form.OBJECT, "", yaml)
    version = media.parameters.get("v", "")
    if media.parameters.get("g") != "meta.k8s.io" or version not in ("v1", "v1beta1"):
        return None
    if form == "Table":
        return Output(Form.TABLE, version, yaml)
    if form == (Form.PARTIAL.value if single else Form.PARTIAL_LIST.value):
        return Output(Form(form), version, yaml)
    return None


def media_type(header: str | None) -> str:
    """The type of a Content-Type header without parameters; JSON where there is no header."""
    return (header or JSON).partition(";")[0].strip().lower() or JSON
