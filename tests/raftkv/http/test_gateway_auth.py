"""Who asks through the gateway: the token of the Authorization header, and nothing else."""

import json
from pathlib import Path
from typing import Any

import aiohttp

from raftkv.testing.process_cluster import ProcessCluster
from tests.raftkv.http.gateway_requests import b64


async def test_a_token_in_the_authorization_header_is_the_user(tmp_path: Path) -> None:
    with ProcessCluster(1, tmp_path, ["--bcrypt-cost=4"]) as cluster:
        cluster.wait_ready()
        async with aiohttp.ClientSession(f"http://{cluster.endpoints[0]}") as session:

            async def ask(path: str, token: str = "", **body: Any) -> tuple[int, Any]:
                headers = {"Authorization": token} if token else {}
                async with session.post(path, data=json.dumps(body), headers=headers) as response:
                    return response.status, await response.json()

            await ask("/v3/auth/role/add", name="root")
            for user in ("root", "reader"):
                await ask("/v3/auth/user/add", name=user, password="secret")
            await ask("/v3/auth/user/grant", user="root", role="root")
            await ask("/v3/auth/role/add", name="a-reader")
            permission = {"permType": "READ", "key": b64("a")}
            await ask("/v3/auth/role/grant", name="a-reader", perm=permission)
            await ask("/v3/auth/user/grant", user="reader", role="a-reader")
            assert (await ask("/v3/auth/enable"))[0] == 200

            status, error = await ask("/v3/kv/range", key=b64("a"))
            assert (status, error["message"]) == (400, "etcdserver: user name is empty")
            status, error = await ask("/v3/kv/range", "nonsense", key=b64("a"))
            assert (status, error["message"]) == (401, "etcdserver: invalid auth token")
            _, answer = await ask("/v3/auth/authenticate", name="reader", password="secret")
            token = answer["token"]
            assert (await ask("/v3/kv/range", token, key=b64("a")))[0] == 200
            assert (await ask("/v3/kv/range", f"Bearer {token}", key=b64("a")))[0] == 200
            status, error = await ask("/v3/kv/range", token, key=b64("b"))
            assert (status, error["message"]) == (403, "etcdserver: permission denied")
            refused = await watched(session, token, "b")
            assert refused["canceled"] is True
            assert refused["cancel_reason"].endswith("permission denied")
            assert "canceled" not in await watched(session, token, "a")


async def watched(session: aiohttp.ClientSession, token: str, key: str) -> Any:
    """Return the first answer to a watch of a key."""
    body = json.dumps({"create_request": {"key": b64(key)}})
    headers = {"Authorization": token}
    async with session.post("/v3/watch", data=body, headers=headers) as response:
        return json.loads(await response.content.readline())["result"]
