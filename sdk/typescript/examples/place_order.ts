// Places one signed limit order and prints the answer as JSON. Without --account it opens an
// account with the key and prints its id. Run: node examples/place_order.ts --key key.pem ...

import { parseArgs } from "node:util";
import { toJsonString } from "@bufbuild/protobuf";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { PlaceOrderResponseSchema } from "../gen/dex/orders/v1/order_intake_pb.js";
import { OrderType, Side, TimeInForce } from "../gen/dex/orders/v1/signed_payload_pb.js";
import { Client, Key } from "../src/index.ts";

const { values } = parseArgs({
  options: {
    address: { type: "string", default: "http://127.0.0.1:7400" },
    network: { type: "string", default: "triodex-demo" },
    account: { type: "string", default: "" },
    key: { type: "string", default: "key.pem" },
    market: { type: "string", default: "BTC-USDC.eth" },
    side: { type: "string", default: "BUY" },
    "price-ticks": { type: "string", default: "0" },
    "quantity-lots": { type: "string", default: "0" },
  },
});

const transport = createGrpcTransport({ baseUrl: values.address });
const client = new Client(transport, values.network, Key.load(values.key), values.account);
if (values.account === "") {
  console.log(JSON.stringify({ accountId: await client.registerKey() }));
} else {
  const answer = await client.placeOrder({
    marketId: values.market,
    side: values.side === "BUY" ? Side.BUY : Side.SELL,
    type: OrderType.LIMIT,
    timeInForce: TimeInForce.GTC,
    priceTicks: BigInt(values["price-ticks"]),
    quantityLots: BigInt(values["quantity-lots"]),
  });
  console.log(toJsonString(PlaceOrderResponseSchema, answer));
}
