"""Every reason has a rule, a page entry and a shape on the wire."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from dex.errors.v1 import errors_pb2
from dexnode import errors
from dexrpc import CallContext, RpcError, StatusCode

REASONS = [number for number in errors_pb2.ErrorReason.values() if number]


def test_every_reason_has_exactly_one_rule() -> None:
    assert sorted(errors.RULES) == sorted(REASONS)


def test_no_rule_is_a_success_and_every_sentence_is_one() -> None:
    for rule in errors.RULES.values():
        assert rule.code is not StatusCode.OK
        assert rule.sentence[0].isupper()
        assert rule.sentence.endswith(".")


@pytest.mark.parametrize("reason", REASONS)
def test_a_refusal_carries_one_error_info_in_its_status(reason: int) -> None:
    error = errors.refuse(reason, field="some.field", metadata={"rule": "int64.gt"})
    status = Status.FromString(error.details_bytes())
    infos = [any_ for any_ in status.details if any_.Is(ErrorInfo.DESCRIPTOR)]
    info = ErrorInfo()
    assert len(infos) == 1
    assert infos[0].Unpack(info)
    assert errors_pb2.ErrorReason.Value("ERROR_REASON_" + info.reason) == reason
    assert info.domain == "triodex"
    assert dict(info.metadata) == {"field": "some.field", "rule": "int64.gt"}
    assert status.code == errors.RULES[reason].code
    assert status.message == errors.RULES[reason].sentence


def test_a_named_field_is_also_a_field_violation() -> None:
    error = errors.refuse(errors_pb2.ERROR_REASON_PRICE_OFF_TICK, "Off by 3.", field="order.price")
    [bad] = [detail for detail in error.details if isinstance(detail, BadRequest)]
    assert [(v.field, v.description, v.reason) for v in bad.field_violations] == [
        ("order.price", "Off by 3.", "PRICE_OFF_TICK")
    ]
    plain = errors.refuse(errors_pb2.ERROR_REASON_PRICE_OFF_TICK)
    assert not any(isinstance(detail, BadRequest) for detail in plain.details)


@pytest.mark.parametrize("reason", REASONS)
def test_retry_info_goes_with_the_retryable_and_nobody_else(reason: int) -> None:
    delays = [d for d in errors.refuse(reason).details if isinstance(d, RetryInfo)]
    assert bool(delays) == errors.RULES[reason].retryable
    for delay in delays:
        assert delay.retry_delay.ToMilliseconds() == errors.RULES[reason].retry_delay_ms > 0


def test_a_long_message_still_fits_the_trailers() -> None:
    error = errors.refuse(errors_pb2.ERROR_REASON_FIELD_INVALID, "x" * 100_000, field="a" * 300)
    assert len(error.details_bytes()) < 4096


@pytest.mark.parametrize("reason", [0, 19, 99, -1])
def test_an_unknown_reason_is_a_fault_of_the_code(reason: int) -> None:
    with pytest.raises(ValueError, match="not a reason"):
        errors.refuse(reason)
    with pytest.raises(ValueError, match="not a reason"):
        errors.rejection(reason)


def test_a_rejection_states_the_same_facts() -> None:
    error = errors.refuse(errors_pb2.ERROR_REASON_UNKNOWN_MARKET, "No X.", field="market_id")
    rejection = errors.rejection_of(error)
    assert rejection == errors.rejection(
        errors_pb2.ERROR_REASON_UNKNOWN_MARKET, "market_id", "No X."
    )
    assert errors.rejection(errors_pb2.ERROR_REASON_BATCH_SIZE).message
    bare = errors.rejection_of(RpcError(StatusCode.ABORTED, "bare"))
    assert bare.reason == errors_pb2.ERROR_REASON_INTERNAL


class Calls:
    """What the interceptor counted."""

    def __init__(self) -> None:
        self.refused: list[str] = []
        self.interceptor = errors.ErrorInterceptor(self.refused.append)

    async def fail(
        self, make_context: Callable[..., CallContext], error: Exception | None
    ) -> RpcError | None:
        async def call_next() -> None:
            if error is not None:
                raise error

        try:
            await self.interceptor(make_context(), call_next)
        except RpcError as failure:
            return failure
        return None


async def test_a_good_call_passes_untouched(make_context: Callable[..., CallContext]) -> None:
    calls = Calls()
    assert await calls.fail(make_context, None) is None
    assert calls.refused == []


@pytest.mark.parametrize("reason", REASONS)
async def test_a_refusal_passes_as_it_is_and_is_counted(
    make_context: Callable[..., CallContext], reason: int
) -> None:
    calls = Calls()
    refusal = errors.refuse(reason)
    assert await calls.fail(make_context, refusal) is refusal
    assert calls.refused == [errors.reason_name(reason)]
    wrapped = ExceptionGroup("a handler's nursery", [refusal])
    assert await calls.fail(make_context, wrapped) is refusal


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (StatusCode.INVALID_ARGUMENT, "MALFORMED_MESSAGE"),
        (StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE"),
        (StatusCode.UNIMPLEMENTED, "NOT_SERVED"),
    ],
)
async def test_a_bare_status_gets_its_reason(
    make_context: Callable[..., CallContext], code: StatusCode, reason: str
) -> None:
    calls = Calls()
    failure = await calls.fail(
        make_context, RpcError(code, "of dexrpc", trailing_metadata=[("k", "v")])
    )
    assert failure is not None
    info = errors.error_info(failure)
    assert info is not None
    assert (failure.code, failure.message, info.reason) == (code, "of dexrpc", reason)
    assert failure.trailing_metadata == (("k", "v"),)
    assert calls.refused == [reason]


async def test_an_unexpected_exception_is_logged_and_tells_the_caller_nothing(
    make_context: Callable[..., CallContext], caplog: pytest.LogCaptureFixture
) -> None:
    calls = Calls()
    fault = KeyError("the secret of the house")
    failure = await calls.fail(make_context, fault)
    assert failure is not None
    info = errors.error_info(failure)
    assert info is not None
    assert info.reason == "INTERNAL"
    assert "secret" not in str(failure)
    [record] = caplog.records
    assert "/dex.orders.v1.OrderIntake/PlaceOrder" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[1] is fault


async def test_a_cancelled_call_is_no_refusal(make_context: Callable[..., CallContext]) -> None:
    calls = Calls()
    failure = await calls.fail(make_context, RpcError(StatusCode.CANCELLED, "gone"))
    assert failure is not None
    assert (failure.code, failure.details, calls.refused) == (StatusCode.CANCELLED, (), [])
