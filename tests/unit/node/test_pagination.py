"""A page token opens for the query it was sealed for, and for nothing else."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st

from dex.accounts.v1.accounts_pb2 import ListLedgerEntriesRequest
from dex.matching.v1.matching_pb2 import ListMarketsRequest, ListTradesRequest
from dexnode.errors import error_info
from dexnode.pagination import PageTokens
from dexrpc import RpcError

TOKENS = PageTokens(b"k" * 32)


def next_page(token: str, market_id: str = "BTC-USDT", page_size: int = 7) -> ListTradesRequest:
    return ListTradesRequest(market_id=market_id, page_size=page_size, page_token=token)


def refusal(tokens: PageTokens, request: ListTradesRequest) -> str:
    with pytest.raises(RpcError) as caught:
        tokens.open(request, int)
    info = error_info(caught.value)
    assert info is not None
    assert info.metadata["field"] == "page_token"
    return str(info.reason)


@settings(deadline=None)
@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_the_cursor_comes_back(cursor: int) -> None:
    token = TOKENS.seal(next_page("", page_size=100), cursor)
    assert TOKENS.open(next_page(token), int) == cursor


def test_cursors_may_be_text_and_pairs() -> None:
    markets = ListMarketsRequest()
    markets.page_token = TOKENS.seal(markets, "BTC-USDC.eth")
    assert TOKENS.open(markets, str) == "BTC-USDC.eth"
    ledger = ListLedgerEntriesRequest(account_id="a")
    ledger.page_token = TOKENS.seal(ledger, (7, 3))
    assert TOKENS.open(ledger, tuple[int, int]) == (7, 3)


def test_the_first_page_has_no_cursor() -> None:
    assert TOKENS.open(next_page(""), int) is None


def test_a_token_belongs_to_its_query() -> None:
    token = TOKENS.seal(next_page(""), 5)
    assert refusal(TOKENS, next_page(token, market_id="ETH-USDT")) == "PAGE_TOKEN_INVALID"
    moved = next_page(token)
    moved.start_sequence = 3
    assert refusal(TOKENS, moved) == "PAGE_TOKEN_INVALID"


def paged_message(name: str) -> Any:
    """A message `dex.test.<name>` with the paging fields and nothing else."""
    file = descriptor_pb2.FileDescriptorProto(
        name=f"dex/test_{name}.proto", package="dex.test", syntax="proto3"
    )
    message = file.message_type.add(name=name)
    for number, (field, kind) in enumerate(
        (("page_size", FieldDescriptor.TYPE_INT32), ("page_token", FieldDescriptor.TYPE_STRING)), 1
    ):
        message.field.add(
            name=field, number=number, type=kind, label=FieldDescriptor.LABEL_OPTIONAL
        )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName(f"dex.test.{name}"))()


def test_a_token_belongs_to_its_method_even_when_the_fields_spell_the_same_bytes() -> None:
    one, other = paged_message("A"), paged_message("B")
    assert one.SerializeToString() == other.SerializeToString()
    other.page_token = TOKENS.seal(one, 5)
    assert refusal(TOKENS, other) == "PAGE_TOKEN_INVALID"
    one.page_token = other.page_token
    assert TOKENS.open(one, int) == 5


def test_a_token_belongs_to_its_key() -> None:
    token = TOKENS.seal(next_page(""), 5)
    assert refusal(PageTokens(b"j" * 32), next_page(token)) == "PAGE_TOKEN_INVALID"


def test_every_flipped_bit_is_noticed() -> None:
    token = TOKENS.seal(next_page(""), 1 << 40)
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    for bit in range(len(raw) * 8):
        forged = bytearray(raw)
        forged[bit // 8] ^= 1 << bit % 8
        text = base64.urlsafe_b64encode(forged).rstrip(b"=").decode()
        assert refusal(TOKENS, next_page(text)) == "PAGE_TOKEN_INVALID"


@pytest.mark.parametrize("token", ["a", "====", "%%%%", "AAAA", "A" * 22, "é" * 8, "A" * 256])
def test_garbage_is_refused(token: str) -> None:
    assert refusal(TOKENS, next_page(token)) == "PAGE_TOKEN_INVALID"


def test_a_cursor_that_does_not_fit_is_a_fault_of_the_code() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        TOKENS.seal(next_page(""), "x" * 200)
    with pytest.raises(ValueError, match="32"):
        PageTokens(b"short")
