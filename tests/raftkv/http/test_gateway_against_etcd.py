"""The JSON gateway beside a real etcd: the same requests, the same answers but for ids."""

import http.client
import json
from typing import Any

import pytest

from raftkv.testing.process_cluster import ProcessCluster
from tests.raftkv.http import gateway_requests as requests
from tests.raftkv.http.gateway_requests import Request

IDS = {"cluster_id", "member_id", "raft_term"}
STATUS_OF_36 = {412: 400, 408: 499}
"""What etcd 3.6's gateway says where that of 3.5, which runs here, said something else."""


def answer(endpoint: str, request: Request) -> tuple[int, str, Any]:
    """Return status, content type and the comparable body of one request."""
    connection = http.client.HTTPConnection(endpoint, timeout=10)
    try:
        connection.request(request.method, request.path, request.body or None)
        response = connection.getresponse()
        body = response.read()
        kind = (response.getheader("content-type") or "").partition(";")[0]
        status = STATUS_OF_36.get(response.status, response.status)
        return status, kind, comparable(body, request)
    except TimeoutError:
        raise AssertionError(f"no answer from {endpoint} to {request}") from None
    finally:
        connection.close()


def comparable(body: bytes, request: Request) -> Any:
    """Return the JSON of a body without what must differ; None where words may differ."""
    if not request.text:
        return None
    lines = [json.loads(line) for line in body.splitlines()]
    return [without_ids(line) for line in lines]


def without_ids(value: Any) -> Any:
    match value:
        case {"code": _, "message": _}:  # 3.5 repeats the message, 3.6 has an empty list
            return {key: value[key] for key in ("code", "message")}
        case dict():
            return {key: without_ids(one) for key, one in value.items() if key not in IDS}
        case list():
            return [without_ids(one) for one in value]
    return value


@pytest.mark.parametrize("group", ["KV", "LEASE", "CLUSTER", "CONCURRENCY", "AUTH", "MALFORMED"])
def test_the_gateway_answers_as_etcd_does(
    served: ProcessCluster, real_etcd: str, group: str
) -> None:
    """Promise: status, body and error text of every RPC are etcd's."""
    for request in getattr(requests, group):
        expected = answer(real_etcd, request)
        got = answer(served.endpoints[0], request)
        if request.text:
            assert got == expected, str(request)
        else:
            assert got[0] == expected[0], str(request)
