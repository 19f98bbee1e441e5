// The bytes that are signed. docs/reference/signing.md freezes them.

import { create, toBinary } from "@bufbuild/protobuf";
import { AccessGrantSchema, AccessTokenSchema } from "../gen/dex/auth/v1/auth_pb.js";
import { SignedEnvelopeSchema } from "../gen/dex/orders/v1/signed_payload_pb.js";
import type { SignedEnvelope } from "../gen/dex/orders/v1/signed_payload_pb.js";
import type { Key } from "./keys.ts";
import { timestampOf } from "./times.ts";

const PAYLOAD_DOMAIN = Buffer.from("triodex.payload.v1\0", "ascii");
const ACCESS_DOMAIN = Buffer.from("triodex.access.v1\0", "ascii");

/** What the signature of a SignedEnvelope covers. */
export function payloadSigningBytes(payload: Uint8Array): Uint8Array {
  return Buffer.concat([PAYLOAD_DOMAIN, payload]);
}

/** What the signature of an AccessToken covers. */
export function accessSigningBytes(grant: Uint8Array): Uint8Array {
  return Buffer.concat([ACCESS_DOMAIN, grant]);
}

/** Signs a serialized Payload, exactly as it will travel. */
export function signPayload(key: Key, payload: Uint8Array): SignedEnvelope {
  const signature = key.sign(payloadSigningBytes(payload));
  return create(SignedEnvelopeSchema, { payload, signature, publicKey: key.publicBytes });
}

/**
 * The value of the `authorization` metadata that shows who reads an account: a token for one
 * network that ends at `expireTimeNs`, at most one hour ahead.
 */
export function authorization(key: Key, networkId: string, expireTimeNs: bigint): string {
  const expireTime = timestampOf(expireTimeNs);
  const grant = toBinary(AccessGrantSchema, create(AccessGrantSchema, { networkId, expireTime }));
  const signature = key.sign(accessSigningBytes(grant));
  const token = create(AccessTokenSchema, { grant, signature, publicKey: key.publicBytes });
  return `Dex ${Buffer.from(toBinary(AccessTokenSchema, token)).toString("base64url")}`;
}
