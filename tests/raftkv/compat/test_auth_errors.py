"""Each error of Auth is provoked in a real etcd and in raftkv: equal code, equal text."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.message import Message

from raftkv.errors import ErrorCode
from raftkv.pb.etcd import rpc_pb2 as pb
from tests.raftkv.compat.pair import Call, Side, both_answer, get, opened, put, running_pair
from tests.raftkv.compat.test_errors import AUTH, status_of

pytestmark = pytest.mark.slow

E = ErrorCode


def auth(method: str, **fields: object) -> Call:
    """Return a call of Auth, `UserAdd`; its messages are named after it."""
    name = method if method.startswith("Auth") else f"Auth{method}"
    request: type[Message] = getattr(pb, f"{name}Request")
    return f"Auth/{method}", request(**fields), getattr(pb, f"{name}Response")


def permission(key: bytes) -> dict[str, object]:
    return {"permType": 2, "key": key}


BEFORE: list[tuple[ErrorCode | None, Call]] = [
    (E.AUTH_NOT_ENABLED, ("Auth/Authenticate", pb.AuthenticateRequest(), pb.AuthenticateResponse)),
    (E.ROOT_USER_NOT_EXIST, auth("AuthEnable")),
    (E.USER_EMPTY, auth("UserAdd", name="", password="x")),
    (None, auth("UserAdd", name="root", password="secret")),
    (E.USER_ALREADY_EXIST, auth("UserAdd", name="root", password="secret")),
    (E.ROOT_ROLE_NOT_EXIST, auth("AuthEnable")),
    (E.USER_NOT_FOUND, auth("UserGet", name="nobody")),
    (E.USER_NOT_FOUND, auth("UserDelete", name="nobody")),
    (E.USER_NOT_FOUND, auth("UserChangePassword", name="nobody", password="x")),
    (E.USER_NOT_FOUND, auth("UserGrantRole", user="nobody", role="none")),
    (E.ROLE_EMPTY, auth("RoleAdd", name="")),
    (None, auth("RoleAdd", name="root")),
    (E.ROLE_ALREADY_EXIST, auth("RoleAdd", name="root")),
    (E.ROLE_NOT_FOUND, auth("RoleGet", role="none")),
    (E.ROLE_NOT_FOUND, auth("RoleDelete", role="none")),
    (E.ROLE_NOT_FOUND, auth("UserGrantRole", user="root", role="none")),
    (E.ROLE_NOT_FOUND, auth("RoleGrantPermission", name="none", perm=permission(b"a"))),
    (None, auth("RoleAdd", name="r")),
    (E.PERMISSION_NOT_GIVEN, auth("RoleGrantPermission", name="r")),
    (E.PERMISSION_NOT_GRANTED, auth("RoleRevokePermission", role="r", key=b"a")),
    (E.ROLE_NOT_GRANTED, auth("UserRevokeRole", name="root", role="r")),
    (None, auth("UserGrantRole", user="root", role="root")),
    (None, auth("UserAdd", name="u", password="pass")),
    (None, auth("AuthEnable")),
]
"""In this order, on an empty store; None: no refusal."""

WITHOUT_TOKEN: list[tuple[ErrorCode, Call]] = [
    (E.USER_EMPTY, put(b"a")),
    (E.USER_EMPTY, get(b"a")),
    (
        E.AUTH_FAILED,
        (
            "Auth/Authenticate",
            pb.AuthenticateRequest(name="root", password="wrong"),
            pb.AuthenticateResponse,
        ),
    ),
    (
        E.AUTH_FAILED,
        (
            "Auth/Authenticate",
            pb.AuthenticateRequest(name="nobody", password="wrong"),
            pb.AuthenticateResponse,
        ),
    ),
]

AS_ROOT: list[tuple[ErrorCode, Call]] = [
    (E.INVALID_AUTH_MGMT, auth("UserDelete", name="root")),
    (E.INVALID_AUTH_MGMT, auth("RoleDelete", role="root")),
    (E.INVALID_AUTH_MGMT, auth("UserRevokeRole", name="root", role="root")),
]

AS_USER: list[tuple[ErrorCode, Call]] = [
    (E.PERMISSION_DENIED, put(b"a")),
    (E.PERMISSION_DENIED, get(b"a")),
    (E.PERMISSION_DENIED, auth("UserAdd", name="another", password="x")),
    (E.PERMISSION_DENIED, auth("UserGet", name="root")),
]


@pytest.fixture
async def fresh(tmp_path: Path) -> AsyncIterator[list[Side]]:
    with running_pair(tmp_path) as (etcd, raftkv):
        async with opened(etcd) as one, opened(raftkv) as other:
            yield [Side(one), Side(other)]


async def told_with_token(side: Side, token: str, call: Call) -> object:
    """Return the refusal of a call that carries a token."""
    try:
        return await side.ask(*call, metadata=[("token", token)])
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details()


async def token_of(side: Side, name: str, password: str) -> str:
    request = pb.AuthenticateRequest(name=name, password=password)
    answer = await side.ask("Auth/Authenticate", request, pb.AuthenticateResponse)
    return str(answer.token)


async def test_refusals(fresh: list[Side]) -> None:
    told = await both_answer(fresh, [call for _, call in BEFORE])
    for (code, call), answer in zip(BEFORE, told, strict=True):
        assert isinstance(answer, str) if code is None else answer == status_of(code), call
    told = await both_answer(fresh, [call for _, call in WITHOUT_TOKEN])
    assert told == [status_of(code) for code, _ in WITHOUT_TOKEN]
    for cases, name, password in ((AS_ROOT, "root", "secret"), (AS_USER, "u", "pass")):
        for side in fresh:
            token = await token_of(side, name, password)
            for code, call in cases:
                assert await told_with_token(side, token, call) == status_of(code), call
    for side in fresh:
        bad = await told_with_token(side, "no token", put(b"a"))
        assert bad == status_of(E.INVALID_AUTH_TOKEN)


def test_no_error_is_left_out() -> None:
    cases = [*BEFORE, *WITHOUT_TOKEN, *AS_ROOT, *AS_USER]
    assert {code for code, _ in cases} - {None} | {E.INVALID_AUTH_TOKEN} == AUTH
