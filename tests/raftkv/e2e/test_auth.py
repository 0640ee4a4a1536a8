"""Users on three real members: stock etcdctl, tokens everywhere, leader changes, restarts."""

import asyncio
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from raftkv.auth.jwt import Claims, load_key
from raftkv.client.authentication import User
from raftkv.client.client import Client
from raftkv.testing.etcdctl import Etcdctl, installed
from raftkv.testing.process_cluster import ProcessCluster
from tests.raftkv.auth.calls import (
    READWRITE,
    authenticate,
    change_password,
    disable,
    enable,
    grant_permission,
    grant_role,
    password,
    revoke_role,
    role_add,
    role_delete,
    status,
    user_add,
    user_delete,
    user_list,
)
from tests.raftkv.compat.pair import Call, Side, get, put
from tests.raftkv.e2e.polling import until
from tests.raftkv.tls.authority import Authority
from tests.raftkv.tls.secure_cluster import SecureCluster
from tests.raftkv.tls.test_secure_cluster import trusting

pytestmark = pytest.mark.slow

BINARIES = installed()
CHEAP = "--bcrypt-cost=4"

DENIED = grpc.StatusCode.PERMISSION_DENIED
OLD = "etcdserver: revision of auth store is old"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    with ProcessCluster(3, tmp_path_factory.mktemp("auth"), [CHEAP]) as cluster:
        cluster.wait_ready()
        yield cluster


def run(ctl: Etcdctl, endpoint: str, words: str, stdin: str = "") -> str:
    return ctl.run(endpoint, *words.split(), stdin=stdin)


def fails(ctl: Etcdctl, endpoint: str, words: str) -> str:
    done = ctl.attempt(endpoint, *words.split())
    assert done.returncode != 0, words
    return done.stderr


@pytest.mark.parametrize("ctl", BINARIES, ids=lambda ctl: ctl.path.replace("/", "-"))
def test_stock_etcdctl(ctl: Etcdctl, cluster: ProcessCluster) -> None:
    """Each verb of auth, user and role, each on another member than the one before."""
    first, second, third = cluster.endpoints
    assert run(ctl, first, "user add root:pw") == "User root created\n"
    assert "password" not in run(ctl, second, "user add u --new-user-password=one")
    assert "User v created" in ctl.run(
        third, "user", "add", "v", "--interactive=false", stdin="two\n"
    )
    assert run(ctl, first, "user add cn --no-password") == "User cn created\n"
    assert run(ctl, second, "role add r") == "Role r created\n"
    run(ctl, third, "role grant-permission r readwrite a c")
    run(ctl, first, "role grant-permission r read --prefix p/")
    run(ctl, second, "role grant-permission r write --from-key x")
    run(ctl, third, "user grant-role u r")
    assert run(ctl, first, "auth enable") == "Authentication Enabled\n"
    root = "--user=root:pw"
    told = run(ctl, second, f"{root} role get r")
    assert "[a, c)" in told
    assert "[x, <open ended>" in told
    assert run(ctl, third, f"{root} user list").split() == ["cn", "root", "u", "v"]
    assert run(ctl, third, f"{root} role list").split() == ["r", "root"]
    assert "Roles: r" in run(ctl, first, "--user=u:one user get u")
    assert run(ctl, second, "--user=u --password=one put a 1") == "OK\n"
    assert run(ctl, third, "--user=u:one get a --print-value-only") == "1\n"
    assert "permission denied" in fails(ctl, first, "--user=u:one put p/1 1")
    assert "user name is empty" in fails(ctl, second, "get a")
    assert "invalid user ID or password" in fails(ctl, third, "--user=u:wrong get a")
    assert "permission denied" in fails(ctl, first, "--user=v:two get a")
    script = 'val("a") = "1"\n\nput a 2\n\nget p/1\n\n'
    assert run(ctl, second, "--user=u:one txn", script).split() == ["SUCCESS", "OK"]
    ctl.run(third, root, "user", "passwd", "v", "--interactive=false", stdin="three\n")
    run(ctl, first, f"{root} user grant-role v r")
    assert run(ctl, second, "--user=v:three get a --print-value-only") == "2\n"
    run(ctl, third, f"{root} role revoke-permission r a c")
    assert "permission denied" in fails(ctl, first, "--user=v:three get a")
    run(ctl, second, f"{root} user revoke-role v r")
    run(ctl, third, f"{root} role delete r")
    assert "role name not found" in fails(ctl, first, f"{root} role get r")
    lease = run(ctl, first, "--user=u:one lease grant 100").split()[1]
    assert "keepalived" in run(ctl, second, f"--user=u:one lease keep-alive {lease} --once")
    assert run(ctl, third, f"{root} endpoint health").count("is healthy") + 1
    for name in ("u", "v", "cn"):
        assert run(ctl, first, f"{root} user delete {name}") == f"User {name} deleted\n"
    assert "invalid auth management" in fails(ctl, first, f"{root} user delete root")
    assert run(ctl, second, f"{root} auth disable") == "Authentication Disabled\n"
    assert run(ctl, third, "get a --print-value-only") == "2\n"
    run(ctl, first, "user delete root")
    run(ctl, first, "role delete root")


FURNITURE: tuple[Call, ...] = (
    user_add("root"),
    grant_role("root", "root"),
    role_add("r"),
    grant_permission("r", (READWRITE, b"a", b"c")),
    user_add("u"),
    grant_role("u", "r"),
    enable(),
)


class Members:
    """Channels to the members of a cluster, opened again for each use after `forget`."""

    def __init__(self, endpoints: list[str]) -> None:
        self.endpoints = endpoints
        self.channels: dict[int, grpc.aio.Channel] = {}

    async def __aenter__(self) -> "Members":
        return self

    async def __aexit__(self, *_: object) -> None:
        for channel in self.channels.values():
            await channel.close()

    async def ask(self, member: int, call: Call, token: str = "", timeout_s: float = 10) -> Any:
        if member not in self.channels:
            options = [
                ("grpc.max_reconnect_backoff_ms", 100),
                ("grpc.use_local_subchannel_pool", 1),
            ]
            self.channels[member] = grpc.aio.insecure_channel(self.endpoints[member], options)
        metadata = (("token", token),) if token else ()
        return await Side(self.channels[member]).ask(*call, metadata, timeout_s)

    async def refusal(self, member: int, call: Call, token: str = "") -> tuple[Any, str | None]:
        try:
            await self.ask(member, call, token)
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details()
        raise AssertionError(f"{call[0]} was not refused")

    async def furnish(self) -> None:
        for call in FURNITURE:
            await self.ask(0, call)

    async def clear(self) -> None:
        """Undo `furnish`."""
        await self.ask(0, disable(), await self.token(0, "root"))
        for call in (user_delete("u"), user_delete("root"), role_delete("r")):
            await self.ask(0, call)

    async def token(self, member: int, name: str) -> str:
        answer = await self.ask(member, authenticate(name))
        return str(answer.token)


async def put_somewhere(members: Members, member: int, token: str) -> bool:
    """Tell whether a put goes through; while members are away it may not."""
    try:
        await members.ask(member, put(b"a"), token, timeout_s=1)
    except grpc.aio.AioRpcError as error:
        if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            return False
        raise
    return True


async def test_tokens_are_good_everywhere_and_outlive_leaders_and_processes(
    tmp_path: Path,
) -> None:
    """etcd's simple tokens are known where they were given out, and gone when that member is."""
    with ProcessCluster(3, tmp_path, [CHEAP]) as cluster:
        await asyncio.to_thread(cluster.wait_ready)
        async with Members(cluster.endpoints) as members:
            await members.furnish()
            root, user = await members.token(0, "root"), await members.token(1, "u")
            for member in range(3):
                await members.ask(member, put(b"a"), user)
                assert (await members.ask(member, get(b"a"), user)).kvs
                assert (await members.refusal(member, put(b"x"), user))[0] is DENIED
                assert (await members.ask(member, user_list(), root)).users == ["root", "u"]
            leader = await asyncio.to_thread(cluster.leader)
            cluster.kill(leader)
            alive = [member for member in range(3) if member != leader]
            for member in alive:
                await until(lambda member=member: put_somewhere(members, member, user))  # type: ignore[misc]
            cluster.start(leader)
            await until(lambda: put_somewhere(members, leader, user))
            for member in range(3):
                cluster.terminate(member)
            for member in range(3):
                cluster.start(member)
            for member in range(3):
                await until(lambda member=member: put_somewhere(members, member, user))  # type: ignore[misc]
                assert (await members.refusal(member, put(b"x"), user))[0] is DENIED
                assert (await members.refusal(member, put(b"a")))[0] is not DENIED
                await asyncio.to_thread(cluster.wait_ready, [member])  # whose /health needs no user
            await members.ask(0, change_password("u", "other"), root)
            for member in range(3):
                code, text = await members.refusal(member, get(b"a"), user)
                assert (code, text) == (
                    *(grpc.StatusCode.UNAUTHENTICATED, "etcdserver: invalid auth token"),
                )
            await members.ask(0, disable(), root)
            await members.ask(1, enable())
            code, _ = await members.refusal(0, user_list(), root)
            assert code is grpc.StatusCode.UNAUTHENTICATED, "turning it off voids every token"
            root = await members.token(2, "root")
            for _ in range(20):
                await members.ask(0, revoke_role("u", "r"), root)
                await members.ask(1, grant_role("u", "r"), root)
                await members.ask(2, put(b"a"), await members.token(0, "root"))


async def test_a_token_lives_while_it_is_used_anywhere(tmp_path: Path) -> None:
    """Used at one member, it lives on at the others; left alone, it ends."""
    with ProcessCluster(3, tmp_path, [CHEAP, "--auth-token-ttl=3"]) as cluster:
        await asyncio.to_thread(cluster.wait_ready)
        async with Members(cluster.endpoints) as members:
            await members.furnish()
            used, idle = await members.token(0, "u"), await members.token(0, "u")
            end = time.monotonic() + 5

            async def is_over() -> bool:
                await members.ask(0, get(b"a"), used)
                return time.monotonic() > end

            await until(is_over)
            for member in range(3):
                assert await members.ask(member, get(b"a"), used)
                code, _ = await members.refusal(member, get(b"a"), idle)
                assert code is grpc.StatusCode.UNAUTHENTICATED


async def test_a_member_that_lags_lets_nothing_through(cluster: ProcessCluster) -> None:
    """What it knew when it stood still decides neither about its reads nor about its writes."""
    async with Members(cluster.endpoints) as members:
        await members.furnish()
        leader = await asyncio.to_thread(cluster.leader)
        late, other = (one for one in range(3) if one != leader)
        root, user = await members.token(leader, "root"), await members.token(late, "u")
        await members.ask(late, put(b"a"), user)
        for call in (revoke_role("u", "r"), grant_role("u", "r"), user_delete("u")):
            cluster.pause(late)
            try:
                await members.ask(other, call, root)
                asked = [
                    asyncio.ensure_future(members.ask(late, one, user))
                    for one in (get(b"a"), put(b"a", call[0].encode()))
                ]
            finally:
                cluster.resume(late)
            answers = await asyncio.gather(*asked, return_exceptions=True)
            if call[0].endswith("GrantRole"):
                assert all(hasattr(one, "header") for one in answers), "granted is granted"
                continue
            for answer in answers:
                assert isinstance(answer, grpc.aio.AioRpcError), call[0]
                assert answer.code() is not grpc.StatusCode.INTERNAL
            assert (await members.ask(leader, get(b"a"), root)).kvs[0].value != call[0].encode()
        await members.ask(leader, user_add("u"), root)
        await members.clear()


async def test_a_snapshot_brings_the_users(tmp_path: Path) -> None:
    flags = [CHEAP, "--snapshot-count=20", "--snapshot-catchup-entries=20"]
    with ProcessCluster(3, tmp_path, flags) as cluster:
        await asyncio.to_thread(cluster.wait_ready)
        leader = await asyncio.to_thread(cluster.leader)
        away = (leader + 1) % 3
        cluster.terminate(away)
        async with Members(cluster.endpoints) as members:
            calls = [leader if one == away else one for one in range(3)]
            for call in FURNITURE:
                await members.ask(leader, call)
            root, user = [await members.token(calls[0], one) for one in ("root", "u")]
            for number in range(600):
                await members.ask(leader, put(b"b%d" % number, b"v" * 100), user)
            cluster.start(away)

            async def has_installed() -> bool:
                return "installed a snapshot" in cluster.log_path(away).read_text()

            await until(has_installed)
            assert await members.ask(away, put(b"a"), user)
            assert (await members.refusal(away, get(b"x", serializable=True), user))[0] is DENIED
            assert (await members.refusal(away, get(b"a", serializable=True)))[0] is not DENIED
            assert (await members.ask(away, user_list(), root)).users == ["root", "u"]


async def test_json_web_tokens(tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 2048)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (tmp_path / "private.pem").write_bytes(private)
    flag = f"--auth-token=jwt,sign-method=RS256,priv-key={tmp_path}/private.pem,ttl=1m"
    with ProcessCluster(3, tmp_path, [CHEAP, flag]) as cluster:
        await asyncio.to_thread(cluster.wait_ready)
        async with Members(cluster.endpoints) as members:
            await members.furnish()
            root, user = await members.token(0, "root"), await members.token(1, "u")
            for member in range(3):
                await members.ask(member, put(b"a"), user)
            signer = load_key("RS256", b"", private)
            now = int(time.time())
            revision = (await members.ask(2, status())).authRevision
            good = signer.write(Claims("u", revision, now + 60))
            await members.ask(2, put(b"a"), good)
            for claims, wanted in (
                (Claims("u", revision, now - 1), grpc.StatusCode.UNAUTHENTICATED),
                (Claims("u", revision - 1, now + 60), grpc.StatusCode.INVALID_ARGUMENT),
                (Claims("nobody", revision, now + 60), DENIED),
            ):
                code, text = await members.refusal(1, get(b"a"), signer.write(claims))
                assert code is wanted, text
            await members.ask(0, role_add("new"), root)
            assert (await members.refusal(1, get(b"a"), good))[1] == OLD
        user_flag = f"--user=u:{password('u')}"
        assert BINARIES[-1].run(cluster.endpoints[2], user_flag, "put", "a", "1") == "OK\n"


def test_common_names_are_users(tmp_path: Path) -> None:
    """Who shows a certificate needs no password; who shows none is somebody by his token only."""
    authority = Authority(tmp_path / "ca")
    server = authority.issue("server", "server", ("127.0.0.1", "localhost"))
    pairs = {name: authority.issue(name, name) for name in ("root", "u", "stranger")}
    flags = [
        CHEAP,
        f"--cert-file={server.certificate}",
        f"--key-file={server.key}",
        f"--trusted-ca-file={authority.ca}",
        "--client-cert-auth",
        "--peer-auto-tls",
    ]
    ctl = BINARIES[-1]
    cluster = SecureCluster(1, tmp_path, trusting(authority, pairs["root"]), flags)
    with cluster:
        cluster.wait_ready()

        def by(name: str, words: str) -> subprocess.CompletedProcess[str]:
            pair = pairs[name]
            tls = [f"--cacert={authority.ca}", f"--cert={pair.certificate}", f"--key={pair.key}"]
            return ctl.attempt(cluster.urls, *tls, *words.split())

        for words in (
            "user add root --no-password",
            "user grant-role root root",
            "role add r",
            "role grant-permission r readwrite a c",
            "user add u --no-password",
            "user add w:pw",
            "user grant-role u r",
            "auth enable",
        ):
            assert by("stranger", words).returncode == 0, words
        assert by("u", "put a 1").stdout == "OK\n"
        assert "permission denied" in by("u", "put x 1").stderr
        assert "permission denied" in by("stranger", "get a").stderr
        assert by("root", "put x 1").stdout == "OK\n"
        assert "permission denied" in by("root", "--user=w:pw put x 1").stderr, (
            "a token is stronger"
        )
        assert "permission denied" in by("u", "user list").stderr
        assert by("root", "auth disable").returncode == 0


async def test_what_is_asked_while_it_is_turned_on(cluster: ProcessCluster) -> None:
    """Puts of nobody under way, on every member, end before the users begin, or are refused."""
    async with Members(cluster.endpoints) as members:
        for call in FURNITURE[:-1]:
            await members.ask(0, call)
        enabled = asyncio.Event()
        late: list[int] = []
        told: set[str | None] = set()

        async def write(member: int) -> None:
            while True:
                began_late = enabled.is_set()
                try:
                    await members.ask(member, put(b"anything"))
                except grpc.aio.AioRpcError as error:
                    told.add(error.details())
                    return
                if began_late:
                    late.append(member)

        writers = [asyncio.create_task(write(one)) for one in (0, 1, 2) for _ in range(5)]
        await members.ask(1, enable())
        enabled.set()
        await asyncio.gather(*writers)
        assert told <= {OLD, "etcdserver: user name is empty"}
        assert not late, "nobody writes once the answer to `enable` is here"
        await members.clear()


async def test_the_client_library_follows_its_users_token(cluster: ProcessCluster) -> None:
    """It authenticates by itself, again when its token is voided."""
    async with Members(cluster.endpoints) as members:
        await members.furnish()
        async with Client(cluster.endpoints, user=User("u", password("u"))) as client:
            await client.put(b"a", b"1")
            root = await members.token(0, "root")
            await members.ask(0, change_password("u", password("u")), root)
            await client.put(b"a", b"2")
            assert (await client.get(b"a")).kvs[0].value == b"2"
        await members.clear()
