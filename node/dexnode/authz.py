"""Who may call what: one table from the contract's method options, one interceptor, default deny.

Every method of the contract names the one permission it asks (dex.options.v1); a method without one
keeps the node from starting. A method that asks for nothing looks at nothing: PUBLIC and SIGNED
calls are never slowed or refused over a token they did not need.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast, final

from google.protobuf.descriptor import ServiceDescriptor

from dex.errors.v1 import errors_pb2
from dex.options.v1 import options_pb2
from dexnode.errors import refuse
from dexnode.tokens import TokenVerifier
from dexrpc import CallContext, Peer

IDENTITY_STATE: Final = "identity"
CONTRACT_PREFIX: Final = "dex."
# Reflection, health and the interop services of gRPC itself.
PUBLIC_PREFIX: Final = "/grpc."

PUBLIC: Final = options_pb2.PERMISSION_PUBLIC
SIGNED: Final = options_pb2.PERMISSION_SIGNED
ACCOUNT_READ: Final = options_pb2.PERMISSION_ACCOUNT_READ
OPERATOR: Final = options_pb2.PERMISSION_OPERATOR


class MissingPermissionError(Exception):
    """Methods of the contract carry no permission. The node does not start."""


class IdentityKind(enum.Enum):
    """How much is known of a caller."""

    ANONYMOUS = "anonymous"
    KEY = "key"
    """Holds a key that belongs to no account."""
    ACCOUNT = "account"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls, as far as the call has shown it."""

    kind: IdentityKind
    account_id: str | None = None
    operator: str | None = None
    """The operator's name in the configuration."""
    public_key: bytes | None = None
    """The key that signed the access token; None for a certificate."""
    certificate_name: str | None = None
    """The name in the client certificate that showed the operator; None for a token."""


ANONYMOUS: Final = Identity(IdentityKind.ANONYMOUS)


class OperatorEntry(Protocol):
    """One operator of the configuration: a name and one of the two proofs."""

    @property
    def name(self) -> str:
        """How logs and answers call the operator."""

    @property
    def public_key(self) -> str | None:
        """Ed25519 public key, 64 hex digits."""

    @property
    def certificate_name(self) -> str | None:
        """A name in the verified client certificate."""


@final
class PermissionTable:
    """The permission of every method, by path. A path it does not hold may not be called."""

    __slots__ = ("_permissions",)

    def __init__(self, permissions: Mapping[str, int]) -> None:
        self._permissions = dict(permissions)

    @classmethod
    def from_services(cls, services: Iterable[ServiceDescriptor]) -> PermissionTable:
        """Reads the method options. Raises MissingPermissionError naming every method of the
        contract without a permission."""
        permissions: dict[str, int] = {}
        for service in services:
            if not service.full_name.startswith(CONTRACT_PREFIX):
                continue
            for method in service.methods:
                permission = method.GetOptions().Extensions[cast("Any", options_pb2.permission)]
                permissions[f"/{service.full_name}/{method.name}"] = permission
        known = set(options_pb2.Permission.values()) - {options_pb2.PERMISSION_UNSPECIFIED}
        missing = sorted(path for path, value in permissions.items() if value not in known)
        if missing:
            raise MissingPermissionError(
                "no option (dex.options.v1.permission) on " + ", ".join(missing)
            )
        return cls(permissions)

    def permission(self, path: str) -> int | None:
        """The permission `/pkg.Service/Method` asks; None: nobody may call it."""
        permission = self._permissions.get(path)
        if permission is None and path.startswith(PUBLIC_PREFIX):
            return PUBLIC
        return permission

    def paths(self) -> list[str]:
        """Every method of the contract it knows, sorted."""
        return sorted(self._permissions)


@final
class Authorizer:
    """The interceptor. It leaves the caller's Identity in `ctx.state["identity"]`."""

    __slots__ = ("_account_of_key", "_by_certificate", "_by_key", "_table", "_tokens")

    def __init__(
        self,
        table: PermissionTable,
        tokens: TokenVerifier,
        operators: Iterable[OperatorEntry],
        account_of_key: Callable[[bytes], str | None],
    ) -> None:
        """`account_of_key` finds the account a 32-byte public key is registered for."""
        self._table = table
        self._tokens = tokens
        self._account_of_key = account_of_key
        self._by_key: dict[bytes, str] = {}
        self._by_certificate: dict[str, str] = {}
        for operator in operators:
            if operator.public_key is not None:
                self._by_key[bytes.fromhex(operator.public_key)] = operator.name
            if operator.certificate_name is not None:
                self._by_certificate[operator.certificate_name] = operator.name

    async def __call__(self, ctx: CallContext, call_next: Callable[[], Awaitable[None]]) -> None:
        """Interceptor of dexrpc: refuses, or runs the call."""
        ctx.state[IDENTITY_STATE] = self.authorize(ctx)
        await call_next()

    def authorize(self, ctx: CallContext) -> Identity:
        """The caller's identity when it may call the method. Raises UNAUTHENTICATED, TOKEN_INVALID,
        TOKEN_EXPIRED, UNKNOWN_KEY or PERMISSION_DENIED."""
        permission = self._table.permission(ctx.method.path)
        if permission in {PUBLIC, SIGNED}:
            return ANONYMOUS
        if permission not in {ACCOUNT_READ, OPERATOR}:
            raise refuse(errors_pb2.ERROR_REASON_PERMISSION_DENIED)
        identity = self._identify(ctx)
        if identity.kind is IdentityKind.OPERATOR:
            return identity
        if identity.kind is IdentityKind.ANONYMOUS:
            raise refuse(errors_pb2.ERROR_REASON_UNAUTHENTICATED)
        if permission != ACCOUNT_READ:
            raise refuse(errors_pb2.ERROR_REASON_PERMISSION_DENIED)
        if identity.kind is IdentityKind.KEY:
            raise refuse(
                errors_pb2.ERROR_REASON_UNKNOWN_KEY,
                "The access token's key is not registered for any account.",
            )
        return identity

    def _identify(self, ctx: CallContext) -> Identity:
        """A token speaks first: who sends one means to be its signer, whatever the connection."""
        values = ctx.metadata.get_all("authorization")
        if len(values) > 1:
            raise refuse(
                errors_pb2.ERROR_REASON_TOKEN_INVALID, "The call carries two authorizations."
            )
        if values:
            return self._of_token(cast("str", values[0]))
        return self._of_certificate(ctx.peer)

    def _of_token(self, authorization: str) -> Identity:
        key = self._tokens.verify(authorization).public_key
        operator = self._by_key.get(key)
        if operator is not None:
            return Identity(IdentityKind.OPERATOR, operator=operator, public_key=key)
        account_id = self._account_of_key(key)
        if account_id is None:
            return Identity(IdentityKind.KEY, public_key=key)
        return Identity(IdentityKind.ACCOUNT, account_id=account_id, public_key=key)

    def _of_certificate(self, peer: Peer) -> Identity:
        for name in peer.certificate_names:
            operator = self._by_certificate.get(name)
            if operator is not None:
                return Identity(IdentityKind.OPERATOR, operator=operator, certificate_name=name)
        return ANONYMOUS


def require_account(ctx: CallContext, account_id: str) -> None:
    """Refuses unless the caller may read the account: it is its own, or an operator asks.

    The answer is PERMISSION_DENIED whether or not the account exists, so nobody learns which do.
    """
    identity: Identity = ctx.state.get(IDENTITY_STATE, ANONYMOUS)
    if identity.kind is IdentityKind.OPERATOR:
        return
    if identity.account_id != account_id:
        raise refuse(
            errors_pb2.ERROR_REASON_PERMISSION_DENIED,
            "The caller may read its own account only.",
            field="account_id",
        )
