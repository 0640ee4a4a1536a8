"""`/openapi/v3`: the index of documents, and a document for each group version.

A document's URL carries the hash of its content, so clients keep it for ever; asking for an old
hash is answered by a redirect to the present one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import orjson
from aiohttp import web

from orchestrator.api.resource import Registry
from orchestrator.apiserver.negotiation import JSON
from orchestrator.apiserver.responses import not_found_page

ROOT = "/openapi/v3"
FOREVER = "public, immutable, max-age=31536000"


@dataclass(frozen=True, slots=True)
class Document:
    """An encoded document and the hash in its URL."""

    body: bytes
    tag: str


class OpenApi:
    """Documents of one registry, each made when first asked for."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._documents: dict[str, Document] = {}

    def serve(self, request: web.BaseRequest) -> web.Response:
        path = request.path.removeprefix(ROOT).strip("/")
        if not path:
            return self._index(request)
        names = {path_of(name): name for name in self._registry.group_versions()}
        if path not in names:
            return not_found_page()
        document = self._document(names[path])
        asked = request.query.get("hash", "")
        if asked and asked != document.tag:
            location = f"{ROOT}/{path}?hash={document.tag}"
            return web.Response(status=301, headers={"Location": location})
        cached = FOREVER if asked else "no-cache, private"
        return _answer(request, document, cached)

    def _index(self, request: web.BaseRequest) -> web.Response:
        paths = {
            path_of(name): {
                "serverRelativeURL": f"{ROOT}/{path_of(name)}?hash={self._document(name).tag}"
            }
            for name in self._registry.group_versions()
        }
        body = orjson.dumps({"paths": paths})
        tag = hashlib.sha256(body).hexdigest().upper()
        return _answer(request, Document(body, tag), "no-cache, private")

    def _document(self, group_version: str) -> Document:
        if group_version not in self._documents:
            from orchestrator.api.openapi import document

            self._documents[group_version] = Document(*document(self._registry, group_version))
        return self._documents[group_version]


def path_of(group_version: str) -> str:
    """`api/v1` or `apis/apps/v1`."""
    return f"apis/{group_version}" if "/" in group_version else f"api/{group_version}"


def _answer(request: web.BaseRequest, document: Document, cached: str) -> web.Response:
    headers = {
        "Content-Type": JSON,
        "ETag": f'"{document.tag}"',
        "Cache-Control": cached,
        "Vary": "Accept",
    }
    if request.headers.get("If-None-Match", "").strip('"') == document.tag:
        return web.Response(status=304, headers=headers)
    return web.Response(body=document.body, headers=headers)
