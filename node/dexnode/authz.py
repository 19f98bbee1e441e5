"""Who may call what: one table from the contract's method options, one interceptor, default deny.

Every method of the contract names the one permission it asks (dex.options.v1), an operator's method
the role beside it; a method without them keeps the node from starting. A method that asks for
nothing looks at nothing: PUBLIC and SIGNED calls are never slowed or refused over a token they did
not need.

Nothing that was once allowed is remembered. A key that is revoked or expires, an operator that is
removed or loses a role are refused from the next call on, and a stream that asked for an identity
is asked again every second.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, cast, final

import trio
from google.protobuf.descriptor import ServiceDescriptor

from dex.errors.v1 import errors_pb2
from dex.options.v1 import options_pb2
from dexnode.errors import refuse
from dexnode.tokens import TokenVerifier
from dexrpc import CallContext, MethodKind, Peer, RpcError

IDENTITY_STATE: Final = "identity"
CONTRACT_PREFIX: Final = "dex."
# Reflection, health and the interop services of gRPC itself.
PUBLIC_PREFIX: Final = "/grpc."

PUBLIC: Final = options_pb2.PERMISSION_PUBLIC
SIGNED: Final = options_pb2.PERMISSION_SIGNED
ACCOUNT_READ: Final = options_pb2.PERMISSION_ACCOUNT_READ
OPERATOR: Final = options_pb2.PERMISSION_OPERATOR

# Every operator may see what the node is; the other roles are given in the configuration.
VIEWER: Final = options_pb2.ROLE_VIEWER
ROLES: Final[Mapping[str, int]] = {
    "markets": options_pb2.ROLE_MARKETS,
    "funds": options_pb2.ROLE_FUNDS,
    "node": options_pb2.ROLE_NODE,
    "auditor": options_pb2.ROLE_AUDITOR,
}
# Whose work is other people's accounts.
READS_ACCOUNTS: Final = frozenset({options_pb2.ROLE_FUNDS, options_pb2.ROLE_AUDITOR})
RECHECK_SECONDS: Final = 1.0


class MissingPermissionError(Exception):
    """Methods of the contract carry no permission or no role. The node does not start."""


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
    roles: frozenset[int] = frozenset()
    """What the operator may do, dex.options.v1.Role."""
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

    @property
    def roles(self) -> Sequence[str]:
        """Names of ROLES."""


class KnownKey(NamedTuple):
    """What the exchange knows of a registered key."""

    account_id: str
    may_read: bool
    refusal: int = errors_pb2.ERROR_REASON_UNSPECIFIED
    """KEY_REVOKED or KEY_EXPIRED when its tokens are good no more."""


class Asked(NamedTuple):
    """What a method asks of its caller: a permission, and of an operator a role."""

    permission: int
    role: int = options_pb2.ROLE_UNSPECIFIED


_PUBLIC: Final = Asked(PUBLIC)


@final
class PermissionTable:
    """What every method asks, by path. A path it does not hold may not be called."""

    __slots__ = ("_asked",)

    def __init__(self, asked: Mapping[str, Asked]) -> None:
        self._asked = dict(asked)

    @classmethod
    def from_services(cls, services: Iterable[ServiceDescriptor]) -> PermissionTable:
        """Reads the method options. Raises MissingPermissionError naming every method of the
        contract without a permission, and every one whose role does not go with it."""
        asked: dict[str, Asked] = {}
        for service in services:
            if not service.full_name.startswith(CONTRACT_PREFIX):
                continue
            for method in service.methods:
                options = method.GetOptions().Extensions
                asked[f"/{service.full_name}/{method.name}"] = Asked(
                    options[cast("Any", options_pb2.permission)],
                    options[cast("Any", options_pb2.role)],
                )
        permissions = set(options_pb2.Permission.values()) - {options_pb2.PERMISSION_UNSPECIFIED}
        roles = set(options_pb2.Role.values()) - {options_pb2.ROLE_UNSPECIFIED}
        missing = sorted(path for path, it in asked.items() if it.permission not in permissions)
        if missing:
            raise MissingPermissionError(
                "no option (dex.options.v1.permission) on " + ", ".join(missing)
            )
        missing = sorted(
            path for path, it in asked.items() if (it.role in roles) != (it.permission == OPERATOR)
        )
        if missing:
            raise MissingPermissionError(
                "an operator's method, and no other, has the option (dex.options.v1.role): "
                + ", ".join(missing)
            )
        return cls(asked)

    def asked(self, path: str) -> Asked | None:
        """What `/pkg.Service/Method` asks; None: nobody may call it."""
        asked = self._asked.get(path)
        if asked is None and path.startswith(PUBLIC_PREFIX):
            return _PUBLIC
        return asked

    def paths(self) -> list[str]:
        """Every method of the contract it knows, sorted."""
        return sorted(self._asked)


@final
class Authorizer:
    """The interceptor. It leaves the caller's Identity in `ctx.state["identity"]`, also of one that
    is refused but has shown who it is."""

    __slots__ = ("_by_certificate", "_by_key", "_find_key", "_table", "_tokens")

    def __init__(
        self,
        table: PermissionTable,
        tokens: TokenVerifier,
        operators: Iterable[OperatorEntry],
        find_key: Callable[[bytes], KnownKey | None],
    ) -> None:
        """`find_key` says what is known now of a 32-byte public key."""
        self._table = table
        self._tokens = tokens
        self._find_key = find_key
        self.set_operators(operators)

    def set_operators(self, operators: Iterable[OperatorEntry]) -> None:
        """Whoever is not of these is no operator from now on."""
        self._by_key: dict[bytes, Identity] = {}
        self._by_certificate: dict[str, Identity] = {}
        for operator in operators:
            roles = frozenset({VIEWER, *(ROLES[name] for name in operator.roles)})
            if operator.public_key is not None:
                key = bytes.fromhex(operator.public_key)
                self._by_key[key] = Identity(
                    IdentityKind.OPERATOR, operator=operator.name, roles=roles, public_key=key
                )
            if operator.certificate_name is not None:
                self._by_certificate[operator.certificate_name] = Identity(
                    IdentityKind.OPERATOR,
                    operator=operator.name,
                    roles=roles,
                    certificate_name=operator.certificate_name,
                )

    async def __call__(self, ctx: CallContext, call_next: Callable[[], Awaitable[None]]) -> None:
        """Interceptor of dexrpc: refuses, or runs the call."""
        identity = ctx.state[IDENTITY_STATE] = self.authorize(ctx)
        if identity.kind is IdentityKind.ANONYMOUS or ctx.method.kind is MethodKind.UNARY_UNARY:
            await call_next()
            return
        refusals: list[RpcError] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._recheck, ctx, refusals, nursery.cancel_scope)
            try:
                await call_next()
            except RpcError as refusal:
                # Kept out of the nursery's group: it is the call's own answer.
                refusals.append(refusal)
            nursery.cancel_scope.cancel()
        if refusals:
            raise refusals[0]

    async def _recheck(
        self, ctx: CallContext, refusals: list[RpcError], scope: trio.CancelScope
    ) -> None:
        """Ask a stream's caller again and again, and end it when the answer has changed."""
        while not refusals:
            await trio.sleep(RECHECK_SECONDS)
            try:
                self.authorize(ctx)
            except RpcError as refusal:
                refusals.append(refusal)
        scope.cancel()

    def authorize(self, ctx: CallContext) -> Identity:
        """The caller's identity when it may call the method. Raises UNAUTHENTICATED, TOKEN_INVALID,
        TOKEN_EXPIRED, UNKNOWN_KEY, KEY_REVOKED, KEY_EXPIRED, KEY_LACKS_SCOPE or
        PERMISSION_DENIED."""
        asked = self._table.asked(ctx.method.path)
        if asked is not None and asked.permission in {PUBLIC, SIGNED}:
            return ANONYMOUS
        if asked is None or asked.permission not in {ACCOUNT_READ, OPERATOR}:
            raise refuse(errors_pb2.ERROR_REASON_PERMISSION_DENIED)
        identity = ctx.state[IDENTITY_STATE] = self._identify(ctx)
        if identity.kind is IdentityKind.OPERATOR:
            _check_role(identity, asked)
            return identity
        if identity.kind is IdentityKind.ANONYMOUS:
            raise refuse(errors_pb2.ERROR_REASON_UNAUTHENTICATED)
        if asked.permission != ACCOUNT_READ:
            raise refuse(errors_pb2.ERROR_REASON_PERMISSION_DENIED)
        if identity.kind is IdentityKind.KEY:
            raise refuse(
                errors_pb2.ERROR_REASON_UNKNOWN_KEY,
                "The access token's key is not registered for any account.",
            )
        return identity

    def check_reader(self, authorizations: Sequence[str]) -> None:
        """Refuse whoever shows no token of a key that may read or of an operator.

        For Flight, which knows nothing of calls. Raises PermissionError with the reason.
        """
        if len(authorizations) != 1:
            raise PermissionError("one access token is asked for")
        try:
            identity = self._of_token(authorizations[0])
        except RpcError as error:
            raise PermissionError(error.message) from None
        if identity.kind is IdentityKind.KEY:
            raise PermissionError("the access token's key is not registered for any account")

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
            return operator
        known = self._find_key(key)
        if known is None:
            return Identity(IdentityKind.KEY, public_key=key)
        if known.refusal:
            raise refuse(known.refusal)
        if not known.may_read:
            raise refuse(
                errors_pb2.ERROR_REASON_KEY_LACKS_SCOPE, "The access token's key may not read."
            )
        return Identity(IdentityKind.ACCOUNT, account_id=known.account_id, public_key=key)

    def _of_certificate(self, peer: Peer) -> Identity:
        for name in peer.certificate_names:
            operator = self._by_certificate.get(name)
            if operator is not None:
                return operator
        return ANONYMOUS


def _check_role(identity: Identity, asked: Asked) -> None:
    needed = READS_ACCOUNTS if asked.permission == ACCOUNT_READ else {asked.role}
    if not identity.roles & needed:
        names = sorted(name for name, role in ROLES.items() if role in needed)
        raise refuse(
            errors_pb2.ERROR_REASON_PERMISSION_DENIED,
            f"The operator has not the role {' or '.join(names)}.",
        )


def require_account(ctx: CallContext, account_id: str, field: str = "account_id") -> None:
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
            field=field,
        )
