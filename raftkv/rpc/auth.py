"""etcdserverpb.Auth: users, roles, permissions, and tokens for who proves a name.

Who may call what is the gate's business. Changes go through the log; passwords are hashed before.
"""

import secrets
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from google.protobuf.message import Message

from raftkv._native.http2 import Stream
from raftkv.auth.command import Change, encode
from raftkv.auth.store import ROOT
from raftkv.errors import ErrorCode, GrpcStatus, StoreError
from raftkv.pb.etcd import auth_pb2
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.rpc.auth_gate import AuthGate
from raftkv.rpc.auth_identity import Identity
from raftkv.rpc.auth_tokens import JwtTokens, SimpleTokens, Tokens
from raftkv.rpc.grpc_status import RpcError
from raftkv.rpc.passwords import Passwords
from raftkv.rpc.registry import ServiceRegistry
from raftkv.server import forwarding
from raftkv.server.command import CommandKind
from raftkv.server.member import Member

__all__ = ["AuthService", "make_gate", "make_tokens"]

SECRET_BYTES = 32

NO_PASSWORD = "auth: authentication failed, password was given for no password user"

Response = TypeVar("Response", bound=Message)


def make_tokens(member: Member) -> Tokens:
    """Return the kind of tokens that the flags ask for."""
    config, store = member.config.auth, member.auth.store
    if config.jwt is not None:
        return JwtTokens(store, config.jwt, config.token_ttl_s, time.time)

    def tell_use(token_id: bytes, used_ms: int) -> None:
        message = forwarding.encode(forwarding.TokenUsed(used_ms, token_id))
        for member_id in member.membership.ids:
            if member_id != member.id:
                member.transport.forward(member_id, message)

    tokens = SimpleTokens(store, config.token_ttl_s, time.time, tell_use)
    member.auth.on_use = tokens.uses.use
    return tokens


def make_gate(member: Member, tokens: Tokens) -> AuthGate:
    """Return what judges the calls of a member's clients."""
    return AuthGate(member, Identity(tokens, member.config.client_tls.client_cert_auth))


class AuthService:
    """Answers the methods of service Auth."""

    def __init__(self, member: Member, tokens: Tokens) -> None:
        self._member = member
        self._store = member.auth.store
        self._tokens = tokens
        self._passwords = Passwords(member.config.auth.bcrypt_cost)

    def close(self) -> None:
        """End the threads."""
        self._passwords.close()

    def register(self, registry: ServiceRegistry) -> None:
        """Add the methods of the service."""
        service = "/etcdserverpb.Auth/"
        registry.unary(service + "AuthEnable", pb.AuthEnableRequest, self.enable)
        registry.unary(service + "AuthStatus", pb.AuthStatusRequest, self.status)
        registry.unary(service + "Authenticate", pb.AuthenticateRequest, self.authenticate)
        registry.unary(service + "UserAdd", pb.AuthUserAddRequest, self.user_add)
        registry.unary(service + "UserGet", pb.AuthUserGetRequest, self.user_get)
        registry.unary(service + "UserList", pb.AuthUserListRequest, self.user_list)
        registry.unary(
            service + "UserChangePassword",
            pb.AuthUserChangePasswordRequest,
            self.user_change_password,
        )
        registry.unary(service + "RoleGet", pb.AuthRoleGetRequest, self.role_get)
        registry.unary(service + "RoleList", pb.AuthRoleListRequest, self.role_list)
        for name, change, request, response in PLAIN_CHANGES:
            registry.unary(service + name, request, self._plain(change, response))

    def _plain(
        self, change: Change, response: type[Response]
    ) -> Callable[[Message, Stream], Awaitable[Response]]:
        async def handle(request: Message, _stream: Stream) -> Response:
            await self._change(change, request)
            return self._headed(response())

        return handle

    async def enable(
        self, _request: pb.AuthEnableRequest, _stream: Stream
    ) -> pb.AuthEnableResponse:
        """Turn authentication on; needs user root with role root."""
        await self._change(Change.ENABLE, secrets.token_bytes(SECRET_BYTES))
        return self._headed(pb.AuthEnableResponse())

    async def status(
        self, _request: pb.AuthStatusRequest, _stream: Stream
    ) -> pb.AuthStatusResponse:
        """Say whether authentication is on; free for all, so that clients can find out."""
        await self._member.read_barrier()
        response = pb.AuthStatusResponse(
            enabled=self._store.is_enabled, authRevision=self._store.revision
        )
        return self._headed(response)

    async def authenticate(
        self, request: pb.AuthenticateRequest, _stream: Stream
    ) -> pb.AuthenticateResponse:
        """Give out a token for a name and its password.

        Compared as of now: with a password that changes meanwhile, it is compared again.
        """
        await self._member.read_barrier()
        while True:
            if not self._store.is_enabled:
                raise StoreError(ErrorCode.AUTH_NOT_ENABLED)
            user = self._store.user(request.name)
            if user is not None and user.options.no_password:
                raise RpcError(GrpcStatus.UNKNOWN, NO_PASSWORD)
            hashed = self._hash_of(request.name)
            right = await self._passwords.is_right(request.password, hashed)
            if self._store.is_enabled and hashed == self._hash_of(request.name):
                break
        if not right:
            raise StoreError(ErrorCode.AUTH_FAILED)
        if not self._store.secret:
            await self._change(Change.SET_SECRET, secrets.token_bytes(SECRET_BYTES))
        token = self._tokens.make(request.name)
        return self._headed(pb.AuthenticateResponse(token=token))

    def _hash_of(self, name: str) -> bytes:
        """Return a user's stored hash; empty where there is none."""
        user = self._store.user(name)
        return user.password if user is not None else b""

    async def user_add(
        self, request: pb.AuthUserAddRequest, _stream: Stream
    ) -> pb.AuthUserAddResponse:
        """Add a user, with a password or, for certificates' common names, without."""
        if not request.name:
            raise StoreError(ErrorCode.USER_EMPTY)
        request.hashedPassword = ""
        if not request.options.no_password:
            request.hashedPassword = await self._passwords.hash(request.password)
        request.password = ""
        await self._change(Change.USER_ADD, request)
        return self._headed(pb.AuthUserAddResponse())

    async def user_change_password(
        self, request: pb.AuthUserChangePasswordRequest, _stream: Stream
    ) -> pb.AuthUserChangePasswordResponse:
        """Change a user's password, which voids his tokens."""
        request.hashedPassword = await self._passwords.hash(request.password)
        request.password = ""
        await self._change(Change.USER_CHANGE_PASSWORD, request)
        return self._headed(pb.AuthUserChangePasswordResponse())

    async def user_get(
        self, request: pb.AuthUserGetRequest, _stream: Stream
    ) -> pb.AuthUserGetResponse:
        """List a user's roles."""
        await self._member.read_barrier()
        user = self._store.user(request.name)
        if user is None:
            raise StoreError(ErrorCode.USER_NOT_FOUND)
        return self._headed(pb.AuthUserGetResponse(roles=user.roles))

    async def user_list(
        self, _request: pb.AuthUserListRequest, _stream: Stream
    ) -> pb.AuthUserListResponse:
        """List the users."""
        await self._member.read_barrier()
        return self._headed(pb.AuthUserListResponse(users=self._store.user_names()))

    async def role_get(
        self, request: pb.AuthRoleGetRequest, _stream: Stream
    ) -> pb.AuthRoleGetResponse:
        """List a role's permissions; role root's are everything."""
        await self._member.read_barrier()
        role = self._store.role(request.role)
        if role is None:
            raise StoreError(ErrorCode.ROLE_NOT_FOUND)
        permissions = [EVERYTHING] if request.role == ROOT else role.keyPermission
        return self._headed(pb.AuthRoleGetResponse(perm=permissions))

    async def role_list(
        self, _request: pb.AuthRoleListRequest, _stream: Stream
    ) -> pb.AuthRoleListResponse:
        """List the roles."""
        await self._member.read_barrier()
        return self._headed(pb.AuthRoleListResponse(roles=self._store.role_names()))

    async def _change(self, change: Change, request: Message | bytes) -> None:
        await self._member.propose_and_wait(CommandKind.AUTH, encode(change, request))

    def _headed(self, response: Response) -> Response:
        response.header.CopyFrom(self._member.header())  # type: ignore[attr-defined]
        return response


EVERYTHING = auth_pb2.Permission(permType=auth_pb2.Permission.READWRITE, key=b"", range_end=b"\0")
"""What is told of role root; it may do more than any permission says."""

PLAIN_CHANGES: tuple[tuple[str, Change, type[Message], type[Message]], ...] = (
    ("AuthDisable", Change.DISABLE, pb.AuthDisableRequest, pb.AuthDisableResponse),
    ("UserDelete", Change.USER_DELETE, pb.AuthUserDeleteRequest, pb.AuthUserDeleteResponse),
    (
        "UserGrantRole",
        Change.USER_GRANT_ROLE,
        pb.AuthUserGrantRoleRequest,
        pb.AuthUserGrantRoleResponse,
    ),
    (
        "UserRevokeRole",
        Change.USER_REVOKE_ROLE,
        pb.AuthUserRevokeRoleRequest,
        pb.AuthUserRevokeRoleResponse,
    ),
    ("RoleAdd", Change.ROLE_ADD, pb.AuthRoleAddRequest, pb.AuthRoleAddResponse),
    ("RoleDelete", Change.ROLE_DELETE, pb.AuthRoleDeleteRequest, pb.AuthRoleDeleteResponse),
    (
        "RoleGrantPermission",
        Change.ROLE_GRANT_PERMISSION,
        pb.AuthRoleGrantPermissionRequest,
        pb.AuthRoleGrantPermissionResponse,
    ),
    (
        "RoleRevokePermission",
        Change.ROLE_REVOKE_PERMISSION,
        pb.AuthRoleRevokePermissionRequest,
        pb.AuthRoleRevokePermissionResponse,
    ),
)
"""Methods that are nothing but a change: name, change, request, response."""
