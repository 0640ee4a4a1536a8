"""Lists: selectors, pages, resource versions, and the forms an answer can take."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.apiserver.compaction import Compactor
from orchestrator.apiserver.server import ApiServer
from raftkv.client import Client
from tests.orchestrator.apiserver.conftest import Rest
from tests.orchestrator.apiserver.test_resources import MAPS, PODS, config_map, pod

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


def names(listing: Any) -> list[str]:
    return [item["metadata"]["name"] for item in listing["items"]]


async def make_maps(rest: Rest, *made: str) -> None:
    for name in made:
        labelled = config_map(name)
        labelled["metadata"]["labels"] = {"letter": name[0], "even": str(len(name) % 2 == 0)}
        await rest.make(MAPS, labelled)


async def test_a_list_has_the_revision_of_the_store(rest: Rest) -> None:
    await make_maps(rest, "a")
    other = await rest.make("/api/v1/namespaces", {"metadata": {"name": "later"}})
    code, listing = await rest.get(MAPS)
    assert (code, listing["kind"], listing["apiVersion"]) == (200, "ConfigMapList", "v1")
    written = int(other["metadata"]["resourceVersion"])
    assert int(listing["metadata"]["resourceVersion"]) >= written


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("labelSelector=letter%3Da", ["a", "aa"]),
        ("labelSelector=letter%20in%20(b,c)", ["b", "c"]),
        ("labelSelector=letter!%3Da", ["b", "c"]),
        ("labelSelector=!letter", []),
        ("fieldSelector=metadata.name%3Db", ["b"]),
        ("fieldSelector=metadata.name!%3Db", ["a", "aa", "c"]),
        ("labelSelector=letter%3Da&fieldSelector=metadata.name%3Daa", ["aa"]),
        ("labelSelector=letter%3Dc&fieldSelector=metadata.name%3Daa", []),
    ],
)
async def test_selectors(rest: Rest, query: str, expected: list[str]) -> None:
    await make_maps(rest, "a", "aa", "b", "c")
    assert names((await rest.get(f"{MAPS}?{query}"))[1]) == expected


async def test_unknown_fields_cannot_select(rest: Rest) -> None:
    code, status = await rest.get(f"{MAPS}?fieldSelector=data.x%3Dy")
    assert (code, status["message"]) == (400, "field label not supported: data.x")
    assert (await rest.get(f"{MAPS}?labelSelector=a%3D%3D%3Db"))[0] == 400


async def test_pods_select_by_node(rest: Rest) -> None:
    await rest.make(PODS, pod("p"))
    await rest.make(PODS, pod("q", nodeName="n1"))
    assert names((await rest.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1"))[1]) == ["q"]


async def test_pages_show_one_revision(rest: Rest) -> None:
    await make_maps(rest, *"abcde")
    _, first = await rest.get(f"{MAPS}?limit=2")
    assert names(first) == ["a", "b"]
    assert first["metadata"]["remainingItemCount"] == 3
    await make_maps(rest, "ca")
    token = first["metadata"]["continue"]
    _, second = await rest.get(f"{MAPS}?limit=2&continue={token}")
    assert names(second) == ["c", "d"]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    _, third = await rest.get(f"{MAPS}?limit=2&continue={second['metadata']['continue']}")
    assert names(third) == ["e"]
    assert "continue" not in third["metadata"]


async def test_pages_with_selectors_are_full(rest: Rest) -> None:
    await make_maps(rest, "a", "b", "aa", "bb", "aaa")
    query = "labelSelector=letter%3Da&limit=2"
    _, first = await rest.get(f"{MAPS}?{query}")
    assert names(first) == ["a", "aa"]
    assert "remainingItemCount" not in first["metadata"]
    _, second = await rest.get(f"{MAPS}?{query}&continue={first['metadata']['continue']}")
    assert names(second) == ["aaa"]


async def test_an_expired_page_offers_to_go_on(rest: Rest, server: ApiServer, etcd: str) -> None:
    await make_maps(rest, *"abc")
    _, first = await rest.get(f"{MAPS}?limit=1")
    await make_maps(rest, "d")
    async with Client([etcd]) as client:
        # The first turns learn whose it is and note a revision, the last compacts to it.
        compactor = Compactor(client, 1.0)
        rounds = [await compactor.round() for _ in range(3)]
        assert any(rounds)
    code, status = await rest.get(f"{MAPS}?limit=1&continue={first['metadata']['continue']}")
    assert (code, status["reason"]) == (410, "Expired")
    token = status["metadata"]["continue"]
    _, rest_of_it = await rest.get(f"{MAPS}?continue={token}")
    assert names(rest_of_it) == ["b", "c", "d"]


@pytest.mark.parametrize("token", ["nonsense", "e30", "eyJ2IjoieCJ9"])
async def test_bad_tokens_are_refused(rest: Rest, token: str) -> None:
    code, status = await rest.get(f"{MAPS}?continue={token}")
    assert (code, status["reason"]) == (400, "BadRequest")


async def test_exact_and_future_revisions(rest: Rest) -> None:
    await make_maps(rest, "a")
    _, listing = await rest.get(MAPS)
    then = int(listing["metadata"]["resourceVersion"])
    await make_maps(rest, "b")
    exact = f"resourceVersion={then}&resourceVersionMatch=Exact"
    assert names((await rest.get(f"{MAPS}?{exact}"))[1]) == ["a"]
    assert names((await rest.get(f"{MAPS}?resourceVersion={then}"))[1]) == ["a", "b"]
    assert (await rest.get(f"{MAPS}?resourceVersionMatch=Exact"))[0] == 422
    assert (await rest.get(f"{MAPS}?resourceVersion=x"))[0] == 400


@pytest.mark.slow
async def test_a_revision_of_the_future_times_out(rest: Rest) -> None:
    code, status = await rest.get(f"{MAPS}?resourceVersion=99999999")
    assert (code, status["reason"]) == (504, "Timeout")
    assert "Too large resource version" in status["message"]


async def test_tables_and_what_they_include(rest: Rest) -> None:
    await rest.make(MAPS, config_map("a", data={"x": "1", "y": "2"}))
    _, table = await rest.get(f"{MAPS}", accept=TABLE)
    assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Data", "Age"]
    row = table["rows"][0]
    assert row["cells"][:2] == ["a", 2]
    assert row["object"]["kind"] == "PartialObjectMetadata"
    _, table = await rest.get(f"{MAPS}/a?includeObject=Object", accept=TABLE)
    assert table["rows"][0]["object"]["data"] == {"x": "1", "y": "2"}
    _, table = await rest.get(f"{MAPS}?includeObject=None", accept=TABLE)
    assert table["rows"][0].get("object") is None
    assert (await rest.get(f"{MAPS}?includeObject=Half", accept=TABLE))[0] == 400


async def test_partial_metadata(rest: Rest) -> None:
    await rest.make(MAPS, config_map("a", data={"x": "1"}))
    accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    _, listing = await rest.get(MAPS, accept=accept)
    assert listing["kind"] == "PartialObjectMetadataList"
    assert listing["items"][0]["kind"] == "PartialObjectMetadata"
    assert "data" not in listing["items"][0]
    accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
    _, one = await rest.get(f"{MAPS}/a", accept=accept)
    assert (one["kind"], one["metadata"]["name"]) == ("PartialObjectMetadata", "a")


@pytest.mark.parametrize("accept", ["text/html", "application/json;as=Chart;g=meta.k8s.io;v=v1"])
async def test_what_cannot_be_shown_is_not_acceptable(rest: Rest, accept: str) -> None:
    code, status = await rest.get(MAPS, accept=accept)
    assert (code, status["reason"]) == (406, "NotAcceptable")
