// Signs for one account over a connection the caller made.

import { randomBytes } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { create, toBinary } from "@bufbuild/protobuf";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import type { Client as ServiceClient, Transport } from "@connectrpc/connect";
import { Accounts } from "../gen/dex/accounts/v1/accounts_pb.js";
import { OrderIntake } from "../gen/dex/orders/v1/order_intake_pb.js";
import type { PlaceOrderResponse } from "../gen/dex/orders/v1/order_intake_pb.js";
import { NewOrderSchema, PayloadSchema } from "../gen/dex/orders/v1/signed_payload_pb.js";
import type { Payload, SignedEnvelope } from "../gen/dex/orders/v1/signed_payload_pb.js";
import type { Key } from "./keys.ts";
import { signPayload } from "./signing.ts";
import { timestampOf } from "./times.ts";

const PAYLOAD_LIFETIME_MS = 30_000;
const RETRY_PAUSE_FIRST_MS = 50;
const RETRY_PAUSE_MAX_MS = 2_000;

/** One account (or none yet) on one network. The transport is gRPC over TLS, or h2c on loopback. */
export class Client {
  readonly networkId: string;
  readonly #key: Key;
  readonly #orders: ServiceClient<typeof OrderIntake>;
  readonly #accounts: ServiceClient<typeof Accounts>;
  accountId: string;

  constructor(transport: Transport, networkId: string, key: Key, accountId = "") {
    this.networkId = networkId;
    this.accountId = accountId;
    this.#key = key;
    this.#orders = createClient(OrderIntake, transport);
    this.#accounts = createClient(Accounts, transport);
  }

  /** Opens an account with the client's key; the client then acts for it. */
  async registerKey(): Promise<string> {
    const publicKey = this.#key.publicBytes;
    const envelope = this.#sign("", { case: "registerKey", value: { publicKey } });
    const answer = await retried((options) => this.#accounts.registerKey({ envelope }, options));
    this.accountId = answer.accountId;
    return answer.accountId;
  }

  /** Signs and places one order. A refusal is a ConnectError whose ErrorInfo gives the reason. */
  async placeOrder(order: MessageInitShape<typeof NewOrderSchema>): Promise<PlaceOrderResponse> {
    const envelope = this.#sign(this.accountId, { case: "place", value: order });
    return await retried((options) => this.#orders.placeOrder({ envelope }, options));
  }

  #sign(accountId: string, action: MessageInitShape<typeof PayloadSchema>["action"]): SignedEnvelope {
    const expireTimeNs = BigInt(Date.now() + PAYLOAD_LIFETIME_MS) * 1_000_000n;
    const payload: Payload = create(PayloadSchema, {
      networkId: this.networkId,
      accountId,
      nonce: randomBytes(8).readBigUInt64BE() >> 1n || 1n,
      expireTime: timestampOf(expireTimeNs),
      action: action as NonNullable<typeof action>,
    });
    return signPayload(this.#key, toBinary(PayloadSchema, payload));
  }
}

/** Sends the same envelope until it is answered, refused, or expired. */
async function retried<T>(call: (options: { timeoutMs: number }) => Promise<T>): Promise<T> {
  const deadlineMs = Date.now() + PAYLOAD_LIFETIME_MS;
  for (let pauseMs = RETRY_PAUSE_FIRST_MS; ; pauseMs = Math.min(2 * pauseMs, RETRY_PAUSE_MAX_MS)) {
    try {
      return await call({ timeoutMs: Math.max(1, deadlineMs - Date.now()) });
    } catch (error) {
      const lost = ConnectError.from(error).code === Code.Unavailable;
      if (!lost || Date.now() + pauseMs >= deadlineMs) {
        throw error;
      }
    }
    await pause(pauseMs);
  }
}
