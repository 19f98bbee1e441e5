"""Where calls meet their budgets, on both sides of the authorizer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import final

from dexnode.admission import Admission, say_standing
from dexnode.authz import (
    ACCOUNT_READ,
    ANONYMOUS,
    IDENTITY_STATE,
    PUBLIC,
    PUBLIC_PREFIX,
    Identity,
    IdentityKind,
    PermissionTable,
)
from dexrpc import CallContext, RpcError


@final
class StrikeInterceptor:
    """Outside of the authorizer: what does not verify counts against its connection."""

    __slots__ = ("_admission",)

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    async def __call__(self, ctx: CallContext, call_next: Callable[[], Awaitable[None]]) -> None:
        """Interceptor of dexrpc."""
        try:
            await call_next()
        except RpcError as error:
            self._admission.note_refusal(ctx.peer, error)
            raise


@final
class ReadBudgetInterceptor:
    """Inside of the authorizer: reads are charged to whom the call has proven to come from.
    Operators are not limited; signed calls are charged by the intake."""

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
            say_standing(ctx, self._admission.charge_anonymous(ctx.peer))
        elif permission == ACCOUNT_READ:
            identity: Identity = ctx.state.get(IDENTITY_STATE, ANONYMOUS)
            if identity.kind is IdentityKind.ACCOUNT:
                say_standing(
                    ctx, self._admission.charge_read(identity.account_id, identity.public_key)
                )
        await call_next()
