"""The contract's methods, found in the generated descriptors: path, types, permission."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import Message

from dex.accounts.v1 import accounts_pb2 as accounts
from dex.admin.v1 import admin_pb2 as admin
from dex.audit.v1 import audit_pb2 as audit
from dex.kline.v1 import kline_query_pb2 as kline
from dex.matching.v1 import matching_pb2 as matching
from dex.matching.v1 import quote_pb2 as quotes
from dex.matching.v1 import swap_pb2 as swaps
from dex.options.v1 import options_pb2 as options
from dex.orders.v1 import order_intake_pb2 as orders
from dex.pools.v1 import pools_pb2 as pools

_Request_co = TypeVar("_Request_co", bound=Message, covariant=True)
_Response_co = TypeVar("_Response_co", bound=Message, covariant=True)


@dataclass(frozen=True, slots=True)
class Method(Generic[_Request_co, _Response_co]):
    """One method: what it takes and gives, and whether it wants an access token."""

    path: str
    request: type[_Request_co]
    response: type[_Response_co]
    authorized: bool


_Request = TypeVar("_Request", bound=Message)
_Response = TypeVar("_Response", bound=Message)


def _method(
    file: FileDescriptor, name: str, request: type[_Request], response: type[_Response]
) -> Method[_Request, _Response]:
    service, _, method = name.partition(".")
    found = file.services_by_name[service].methods_by_name[method]
    if found.input_type != request.DESCRIPTOR or found.output_type != response.DESCRIPTOR:
        raise TypeError(f"{name} does not take {request} and give {response}")
    permission = found.GetOptions().Extensions[options.permission]
    authorized = permission in {
        options.PERMISSION_ACCOUNT_READ,
        options.PERMISSION_OPERATOR,
    }
    path = f"/{found.containing_service.full_name}/{method}"
    return Method(path, request, response, authorized)


PLACE_ORDER: Final = _method(
    orders.DESCRIPTOR, "OrderIntake.PlaceOrder", orders.PlaceOrderRequest, orders.PlaceOrderResponse
)
CANCEL_ORDER: Final = _method(
    orders.DESCRIPTOR,
    "OrderIntake.CancelOrder",
    orders.CancelOrderRequest,
    orders.CancelOrderResponse,
)
AMEND_ORDER: Final = _method(
    orders.DESCRIPTOR, "OrderIntake.AmendOrder", orders.AmendOrderRequest, orders.AmendOrderResponse
)
CANCEL_ALL: Final = _method(
    orders.DESCRIPTOR, "OrderIntake.CancelAll", orders.CancelAllRequest, orders.CancelAllResponse
)
SET_DEAD_MANS_SWITCH: Final = _method(
    orders.DESCRIPTOR,
    "OrderIntake.SetDeadMansSwitch",
    orders.SetDeadMansSwitchRequest,
    orders.SetDeadMansSwitchResponse,
)
SUBMIT_BATCH: Final = _method(
    orders.DESCRIPTOR,
    "OrderIntake.SubmitBatch",
    orders.SubmitBatchRequest,
    orders.SubmitBatchResponse,
)
ORDER_STREAM: Final = _method(
    orders.DESCRIPTOR,
    "OrderIntake.OrderStream",
    orders.OrderStreamRequest,
    orders.OrderStreamResponse,
)
CHECK_ORDER: Final = _method(
    orders.DESCRIPTOR, "OrderIntake.CheckOrder", orders.CheckOrderRequest, orders.CheckOrderResponse
)
REGISTER_KEY: Final = _method(
    accounts.DESCRIPTOR,
    "Accounts.RegisterKey",
    accounts.RegisterKeyRequest,
    accounts.RegisterKeyResponse,
)
REVOKE_KEY: Final = _method(
    accounts.DESCRIPTOR,
    "Accounts.RevokeKey",
    accounts.RevokeKeyRequest,
    accounts.RevokeKeyResponse,
)
LIST_KEYS: Final = _method(
    accounts.DESCRIPTOR, "Accounts.ListKeys", accounts.ListKeysRequest, accounts.ListKeysResponse
)
TRANSFER: Final = _method(
    accounts.DESCRIPTOR, "Accounts.Transfer", accounts.TransferRequest, accounts.TransferResponse
)
GET_ACCOUNT: Final = _method(
    accounts.DESCRIPTOR,
    "Accounts.GetAccount",
    accounts.GetAccountRequest,
    accounts.GetAccountResponse,
)
LIST_OPEN_ORDERS: Final = _method(
    accounts.DESCRIPTOR,
    "Accounts.ListOpenOrders",
    accounts.ListOpenOrdersRequest,
    accounts.ListOpenOrdersResponse,
)
LIST_LEDGER_ENTRIES: Final = _method(
    accounts.DESCRIPTOR,
    "Accounts.ListLedgerEntries",
    accounts.ListLedgerEntriesRequest,
    accounts.ListLedgerEntriesResponse,
)
LIST_MARKETS: Final = _method(
    matching.DESCRIPTOR,
    "Matching.ListMarkets",
    matching.ListMarketsRequest,
    matching.ListMarketsResponse,
)
GET_BOOK: Final = _method(
    matching.DESCRIPTOR, "Matching.GetBook", matching.GetBookRequest, matching.GetBookResponse
)
LIST_TRADES: Final = _method(
    matching.DESCRIPTOR,
    "Matching.ListTrades",
    matching.ListTradesRequest,
    matching.ListTradesResponse,
)
STREAM_BOOK: Final = _method(
    matching.DESCRIPTOR,
    "Matching.StreamBook",
    matching.StreamBookRequest,
    matching.StreamBookResponse,
)
STREAM_TRADES: Final = _method(
    matching.DESCRIPTOR,
    "Matching.StreamTrades",
    matching.StreamTradesRequest,
    matching.StreamTradesResponse,
)
REQUEST_QUOTE: Final = _method(
    matching.DESCRIPTOR,
    "Matching.RequestQuote",
    quotes.RequestQuoteRequest,
    quotes.RequestQuoteResponse,
)
ACCEPT_QUOTE: Final = _method(
    matching.DESCRIPTOR,
    "Matching.AcceptQuote",
    quotes.AcceptQuoteRequest,
    quotes.AcceptQuoteResponse,
)
QUOTE_STREAM: Final = _method(
    matching.DESCRIPTOR,
    "Matching.QuoteStream",
    quotes.QuoteStreamRequest,
    quotes.QuoteStreamResponse,
)
LIST_QUOTES: Final = _method(
    matching.DESCRIPTOR, "Matching.ListQuotes", quotes.ListQuotesRequest, quotes.ListQuotesResponse
)
QUOTE_SWAP: Final = _method(
    matching.DESCRIPTOR, "Matching.QuoteSwap", swaps.QuoteSwapRequest, swaps.QuoteSwapResponse
)
LIST_POOLS: Final = _method(
    pools.DESCRIPTOR, "Pools.ListPools", pools.ListPoolsRequest, pools.ListPoolsResponse
)
GET_POOL: Final = _method(
    pools.DESCRIPTOR, "Pools.GetPool", pools.GetPoolRequest, pools.GetPoolResponse
)
STREAM_POOL: Final = _method(
    pools.DESCRIPTOR, "Pools.StreamPool", pools.StreamPoolRequest, pools.StreamPoolResponse
)
LIST_POSITIONS: Final = _method(
    pools.DESCRIPTOR, "Pools.ListPositions", pools.ListPositionsRequest, pools.ListPositionsResponse
)
ADD_LIQUIDITY: Final = _method(
    pools.DESCRIPTOR, "Pools.AddLiquidity", pools.AddLiquidityRequest, pools.AddLiquidityResponse
)
REMOVE_LIQUIDITY: Final = _method(
    pools.DESCRIPTOR,
    "Pools.RemoveLiquidity",
    pools.RemoveLiquidityRequest,
    pools.RemoveLiquidityResponse,
)
SWAP_WITH_POOL: Final = _method(
    pools.DESCRIPTOR, "Pools.SwapWithPool", pools.SwapWithPoolRequest, pools.SwapWithPoolResponse
)
QUOTE_POOL_SWAP: Final = _method(
    pools.DESCRIPTOR, "Pools.QuotePoolSwap", pools.QuotePoolSwapRequest, pools.QuotePoolSwapResponse
)
LIST_KLINES: Final = _method(
    kline.DESCRIPTOR, "KlineQuery.ListKlines", kline.ListKlinesRequest, kline.ListKlinesResponse
)
STREAM_KLINES: Final = _method(
    kline.DESCRIPTOR,
    "KlineQuery.StreamKlines",
    kline.StreamKlinesRequest,
    kline.StreamKlinesResponse,
)
CREATE_MARKET: Final = _method(
    admin.DESCRIPTOR, "Admin.CreateMarket", admin.CreateMarketRequest, admin.CreateMarketResponse
)
CREATE_POOL: Final = _method(
    admin.DESCRIPTOR, "Admin.CreatePool", admin.CreatePoolRequest, admin.CreatePoolResponse
)
SET_MARKET_STATUS: Final = _method(
    admin.DESCRIPTOR,
    "Admin.SetMarketStatus",
    admin.SetMarketStatusRequest,
    admin.SetMarketStatusResponse,
)
SET_FEES: Final = _method(
    admin.DESCRIPTOR, "Admin.SetFees", admin.SetFeesRequest, admin.SetFeesResponse
)
SET_MARKET_LIMITS: Final = _method(
    admin.DESCRIPTOR,
    "Admin.SetMarketLimits",
    admin.SetMarketLimitsRequest,
    admin.SetMarketLimitsResponse,
)
SET_SELF_TRADE_GROUP: Final = _method(
    admin.DESCRIPTOR,
    "Admin.SetSelfTradeGroup",
    admin.SetSelfTradeGroupRequest,
    admin.SetSelfTradeGroupResponse,
)
CANCEL_ORDERS: Final = _method(
    admin.DESCRIPTOR, "Admin.CancelOrders", admin.CancelOrdersRequest, admin.CancelOrdersResponse
)
CREDIT_ACCOUNT: Final = _method(
    admin.DESCRIPTOR, "Admin.CreditAccount", admin.CreditAccountRequest, admin.CreditAccountResponse
)
DEBIT_ACCOUNT: Final = _method(
    admin.DESCRIPTOR, "Admin.DebitAccount", admin.DebitAccountRequest, admin.DebitAccountResponse
)
RECORD_TRADES: Final = _method(
    admin.DESCRIPTOR, "Admin.RecordTrades", admin.RecordTradesRequest, admin.RecordTradesResponse
)
TAKE_SNAPSHOT: Final = _method(
    admin.DESCRIPTOR, "Admin.TakeSnapshot", admin.TakeSnapshotRequest, admin.TakeSnapshotResponse
)
DRAIN: Final = _method(admin.DESCRIPTOR, "Admin.Drain", admin.DrainRequest, admin.DrainResponse)
GET_NODE_STATUS: Final = _method(
    admin.DESCRIPTOR, "Admin.GetNodeStatus", admin.GetNodeStatusRequest, admin.GetNodeStatusResponse
)
GET_SIGNED_TREE_HEAD: Final = _method(
    audit.DESCRIPTOR,
    "Audit.GetSignedTreeHead",
    audit.GetSignedTreeHeadRequest,
    audit.GetSignedTreeHeadResponse,
)
STREAM_SIGNED_TREE_HEADS: Final = _method(
    audit.DESCRIPTOR,
    "Audit.StreamSignedTreeHeads",
    audit.StreamSignedTreeHeadsRequest,
    audit.StreamSignedTreeHeadsResponse,
)
GET_INCLUSION_PROOF: Final = _method(
    audit.DESCRIPTOR,
    "Audit.GetInclusionProof",
    audit.GetInclusionProofRequest,
    audit.GetInclusionProofResponse,
)
GET_CONSISTENCY_PROOF: Final = _method(
    audit.DESCRIPTOR,
    "Audit.GetConsistencyProof",
    audit.GetConsistencyProofRequest,
    audit.GetConsistencyProofResponse,
)
LIST_AUDIT_ENTRIES: Final = _method(
    audit.DESCRIPTOR,
    "Audit.ListAuditEntries",
    audit.ListAuditEntriesRequest,
    audit.ListAuditEntriesResponse,
)
LIST_ACCOUNT_AUDIT_ENTRIES: Final = _method(
    audit.DESCRIPTOR,
    "Audit.ListAccountAuditEntries",
    audit.ListAccountAuditEntriesRequest,
    audit.ListAccountAuditEntriesResponse,
)
