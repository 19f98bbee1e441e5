"""Where calls meet their budgets, on both sides of the authorizer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, final

from dexnode.admission import PREVIEW_READS, Admission, say_standing
from dexnode.authz import (
    ACCOUNT_READ,
    ANONYMOUS,
    IDENTITY_STATE,
    OPERATOR,
    PUBLIC,
    PUBLIC_PREFIX,
    Identity,
    IdentityKind,
    PermissionTable,
)
from dexrpc import CallContext, RpcError

# Where the authorizer looks at a token; a signed payload is the intake's.
_LOOKED_AT: Final = frozenset({ACCOUNT_READ, OPERATOR})
# What costs more than one read.
READS: Final = {
    "/dex.orders.v1.OrderIntake/CheckOrder": PREVIEW_READS,
    "/dex.matching.v1.Matching/QuoteSwap": PREVIEW_READS,
    "/dex.pools.v1.Pools/QuotePoolSwap": PREVIEW_READS,
}


@final
class StrikeInterceptor:
    """Outside of the authorizer: what does not verify counts against its connection, and one that
    cools down is refused before anything is verified. The gate has seen that already, but a burst
    of calls passes it before the first is looked at."""

    __slots__ = ("_admission", "_permissions")

    def __init__(self, admission: Admission, permissions: PermissionTable) -> None:
        self._admission = admission
        self._permissions = permissions

    async def __call__(self, ctx: CallContext, call_next: Callable[[], Awaitable[None]]) -> None:
        """Interceptor of dexrpc."""
        asked = self._permissions.asked(ctx.method.path)
        permission = None if asked is None else asked.permission
        if permission in _LOOKED_AT:
            cooling = self._admission.cooling(ctx.peer)
            if cooling is not None:
                raise cooling
        try:
            await call_next()
        except RpcError as error:
            identity: Identity = ctx.state.get(IDENTITY_STATE, ANONYMOUS)
            is_account = identity.kind is IdentityKind.ACCOUNT
            if identity.kind is IdentityKind.KEY or (is_account and permission == OPERATOR):
                # A good token of who has no business here costs as much as a bad one.
                self._admission.strike(ctx.peer)
            else:
                self._admission.note_refusal(ctx.peer, error)
            raise


@final
class ReadBudgetInterceptor:
    """Inside of the authorizer: reads are charged to whom the call has proven to come from.
    Operators are not limited, but known from then on; signed calls are charged by the intake."""

    __slots__ = ("_admission", "_permissions")

    def __init__(self, admission: Admission, permissions: PermissionTable) -> None:
        self._admission = admission
        self._permissions = permissions

    async def __call__(self, ctx: CallContext, call_next: Callable[[], Awaitable[None]]) -> None:
        """Interceptor of dexrpc."""
        path = ctx.method.path
        asked = self._permissions.asked(path)
        permission = None if asked is None else asked.permission
        if permission == PUBLIC and not path.startswith(PUBLIC_PREFIX):
            say_standing(ctx, self._admission.charge_anonymous(ctx.peer, READS.get(path, 1)))
        elif permission in _LOOKED_AT:
            identity: Identity = ctx.state.get(IDENTITY_STATE, ANONYMOUS)
            if identity.kind is IdentityKind.OPERATOR:
                self._admission.note_operator(ctx.peer)
            elif identity.kind is IdentityKind.ACCOUNT:
                account_id, public_key = identity.account_id, identity.public_key
                reads = READS.get(path, 1)
                say_standing(ctx, self._admission.charge_read(account_id, public_key, reads))
        await call_next()
