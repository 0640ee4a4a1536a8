"""Who gets in, and what the server says about itself."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator

import aiohttp
import pytest
from yarl import URL

from orchestrator.apiserver.server import ApiServer
from tests.orchestrator.apiserver.conftest import Rest, StartServer, tls_of

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


@pytest.fixture
async def anonymous(server: ApiServer) -> AsyncIterator[Rest]:
    connector = aiohttp.TCPConnector(ssl=tls_of(server, anonymous=True))
    async with aiohttp.ClientSession(connector=connector) as session:
        yield Rest(session, server.url)


@pytest.mark.parametrize("path", ["/version", "/healthz", "/livez", "/readyz", "/readyz/etcd"])
async def test_health_and_version_are_open(anonymous: Rest, path: str) -> None:
    assert (await anonymous.get(path))[0] == 200


@pytest.mark.parametrize("path", ["/api", "/api/v1/pods", "/openapi/v3", "/metrics", "/"])
async def test_everything_else_needs_credentials(anonymous: Rest, path: str) -> None:
    code, status = await anonymous.get(path)
    assert (code, status["reason"]) == (401, "Unauthorized")


async def test_a_certificate_of_another_authority_is_refused(
    server: ApiServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from orchestrator.pki import Pki

    stranger = Pki(tmp_path_factory.mktemp("stranger")).admin()
    context = ssl.create_default_context(cadata=server.pki.ca_pem.decode())
    context.load_cert_chain(stranger.certificate_path, stranger.key_path)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        with pytest.raises(aiohttp.ClientError):
            await Rest(session, server.url).get("/api/v1/namespaces")


async def test_version_and_verbose_health(rest: Rest) -> None:
    _, version = await rest.get("/version")
    assert version["gitVersion"] == "v1.35.0+orchestrator"
    _, text = await rest.get("/readyz?verbose")
    assert "[+]etcd ok" in text
    assert text.endswith("readyz check passed\n")
    assert (await rest.get("/readyz/nonsense"))[0] == 404


async def test_legacy_discovery(rest: Rest) -> None:
    _, core = await rest.get("/api")
    assert (core["kind"], core["versions"]) == ("APIVersions", ["v1"])
    _, groups = await rest.get("/apis")
    apps = next(group for group in groups["groups"] if group["name"] == "apps")
    assert apps["preferredVersion"] == {"groupVersion": "apps/v1", "version": "v1"}
    _, resources = await rest.get("/apis/apps/v1")
    found = {row["name"]: row for row in resources["resources"]}
    assert found["deployments"]["shortNames"] == ["deploy"]
    assert found["deployments/scale"]["kind"] == "Scale"
    assert (await rest.get("/apis/apps"))[1]["kind"] == "APIGroup"
    assert (await rest.get("/apis/nonsense.io/v1"))[0] == 404


async def test_aggregated_discovery_is_cached_by_tag(rest: Rest) -> None:
    async with rest.session.get(f"{rest.url}/apis", headers={"Accept": AGGREGATED}) as answer:
        assert "as=APIGroupDiscoveryList" in answer.headers["Content-Type"]
        tag = answer.headers["ETag"]
        names = [item["metadata"]["name"] for item in (await answer.json())["items"]]
    assert "apps" in names
    headers = {"Accept": AGGREGATED, "If-None-Match": tag}
    async with rest.session.get(f"{rest.url}/apis", headers=headers) as answer:
        assert answer.status == 304


async def test_openapi_documents_are_addressed_by_hash(rest: Rest) -> None:
    _, index = await rest.get("/openapi/v3")
    url = index["paths"]["apis/apps/v1"]["serverRelativeURL"]
    async with rest.session.get(rest.url + url) as answer:
        assert "immutable" in answer.headers["Cache-Control"]
        document = await answer.json()
    assert "/apis/apps/v1/namespaces/{namespace}/deployments/{name}" in document["paths"]
    old = rest.url + "/openapi/v3/apis/apps/v1?hash=OLD"
    async with rest.session.get(old, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (301, url)


async def test_unknown_paths_and_methods(rest: Rest) -> None:
    assert await rest.get("/nonsense") == (404, "404 page not found\n")
    assert (await rest.call("POST", "/version"))[0] == 405


@pytest.mark.parametrize("name", ["..%2Fkube-system%2Fsecret", "%2e%2e", "a%00b", "a%2Fb"])
async def test_no_name_reaches_another_key(rest: Rest, name: str) -> None:
    url = URL(f"{rest.url}/api/v1/namespaces/default/configmaps/{name}", encoded=True)
    async with rest.session.get(url) as answer:
        assert answer.status == 404
        assert await answer.text() == "404 page not found\n"


async def test_metrics_count_requests(rest: Rest) -> None:
    await rest.get("/api/v1/namespaces/default/configmaps")
    _, text = await rest.get("/metrics")
    assert 'resource="configmaps"' in text
    assert "apiserver_current_inflight_requests" in text


async def test_more_requests_than_the_limit_are_turned_away(start_server: StartServer) -> None:
    server: ApiServer = await start_server(long_running_max=1)
    connector = aiohttp.TCPConnector(ssl=tls_of(server))
    async with aiohttp.ClientSession(connector=connector) as session:
        path = f"{server.url}/api/v1/pods?watch=true"
        async with session.get(path), session.get(path) as second:
            assert second.status == 429
            assert second.headers["Retry-After"] == "1"


async def test_a_second_server_on_the_same_store_sees_the_same(
    rest: Rest, start_server: StartServer
) -> None:
    maps = "/api/v1/namespaces/default/configmaps"
    made = await rest.make(maps, {"metadata": {"name": "shared"}})
    other: ApiServer = await start_server()
    connector = aiohttp.TCPConnector(ssl=tls_of(other))
    async with aiohttp.ClientSession(connector=connector) as session:
        assert await Rest(session, other.url).get(f"{maps}/shared") == (200, made)


ACCESS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


async def test_reviews_are_answered_and_kept_nowhere(rest: Rest) -> None:
    """`kubectl auth can-i` and `whoami`: a question is created, its answer is the object."""
    spec = {"resourceAttributes": {"verb": "create", "resource": "pods"}}
    review = await rest.make(ACCESS, {"spec": spec})
    assert (review["kind"], review["status"]["allowed"]) == ("SelfSubjectAccessReview", True)
    assert (await rest.get(ACCESS))[0] == 405
    code, status = await rest.call("POST", ACCESS, {"spec": {}})
    assert (code, status["reason"]) == (422, "Invalid")
    me = (await rest.make(WHO, {}))["status"]["userInfo"]
    assert me["username"] == "kubernetes-admin"
    assert "system:masters" in me["groups"]


async def test_the_rights_of_others_are_told(rest: Rest) -> None:
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    spec = {"nonResourceAttributes": {"path": "/", "verb": "get"}}
    known = await rest.make(path, {"spec": {**spec, "user": "bob"}})
    assert known["status"]["allowed"] is True
    nobody = await rest.make(path, {"spec": {**spec, "user": "system:anonymous"}})
    assert nobody["status"]["allowed"] is False
    assert (await rest.call("POST", path, {"spec": spec}))[0] == 422


async def test_a_user_may_act_as_another(rest: Rest, server: ApiServer) -> None:
    """`kubectl --as`: never silently ignored, which would act with more rights than asked for."""
    headers = {"Impersonate-User": "bob", "Impersonate-Group": "staff"}
    connector = aiohttp.TCPConnector(ssl=tls_of(server))
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        me = await Rest(session, server.url).make(WHO, {})
    user = me["status"]["userInfo"]
    assert user == {"username": "bob", "groups": ["staff", "system:authenticated"]}
    headers = {"Impersonate-User": "system:anonymous"}
    connector = aiohttp.TCPConnector(ssl=tls_of(server))
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        assert (await Rest(session, server.url).get("/api/v1/pods"))[0] == 403


async def test_pods_have_an_address_of_the_server(start_server: StartServer) -> None:
    """It is bound before any link has it, named by the certificate, and in the Endpoints."""
    server = await start_server(pod_gateway="127.9.9.9")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls_of(server))) as session:
        rest = Rest(session, f"https://127.9.9.9:{server.port}")
        _, endpoints = await rest.get("/api/v1/namespaces/default/endpoints/kubernetes")
    assert endpoints["subsets"][0]["addresses"] == [{"ip": "127.9.9.9"}]
    elsewhere = await start_server(pod_gateway="192.0.2.254")
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=tls_of(elsewhere))
    ) as session:
        assert (await Rest(session, elsewhere.url).get("/version"))[0] == 200
