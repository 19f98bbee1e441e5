import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { equals, fromBinary, fromJson } from "@bufbuild/protobuf";
import type { JsonValue } from "@bufbuild/protobuf";
import { AccessGrantSchema, AccessTokenSchema } from "../gen/dex/auth/v1/auth_pb.js";
import { Interval } from "../gen/dex/kline/v1/kline_query_pb.js";
import { PayloadSchema } from "../gen/dex/orders/v1/signed_payload_pb.js";
import {
  Key,
  accessSigningBytes,
  authorization,
  formatId,
  openTimeNs,
  parseId,
  payloadSigningBytes,
  signPayload,
  timeNsOf,
  verify,
} from "../src/index.ts";

const folder = process.env["VECTORS"] ?? `${import.meta.dirname}/../../../tests/vectors`;
const load = (name: string) => JSON.parse(readFileSync(`${folder}/${name}`, "utf8"));
const unhex = (text: string) => new Uint8Array(Buffer.from(text, "hex"));
const hex = (data: Uint8Array) => Buffer.from(data).toString("hex");

interface Signed {
  name: string;
  fields: JsonValue;
  seed: string;
  public_key: string;
  payload: string;
  signing_bytes: string;
  signature: string;
}

const signing: { accepted: Signed[]; refused: Signed[] } = load("signing.json");
assert.ok(signing.accepted.length > 0 && signing.refused.length > 0);

for (const vector of signing.accepted) {
  test(`signed: ${vector.name}`, () => {
    const payload = unhex(vector.payload);
    assert.equal(hex(payloadSigningBytes(payload)), vector.signing_bytes);
    const envelope = signPayload(Key.fromSeed(unhex(vector.seed)), payload);
    assert.equal(hex(envelope.signature), vector.signature);
    assert.equal(hex(envelope.publicKey), vector.public_key);
    assert.ok(verify(envelope.publicKey, payloadSigningBytes(payload), envelope.signature));
    if (vector.fields !== null) {
      const parsed = fromBinary(PayloadSchema, payload);
      assert.ok(equals(PayloadSchema, parsed, fromJson(PayloadSchema, vector.fields)));
    }
  });
}

for (const vector of signing.refused) {
  test(`refused: ${vector.name}`, () => {
    const message = payloadSigningBytes(unhex(vector.payload));
    assert.equal(verify(unhex(vector.public_key), message, unhex(vector.signature)), false);
  });
}

test("access tokens", () => {
  for (const vector of load("access.json").tokens) {
    const key = Key.fromSeed(unhex(vector.seed));
    const expireTimeNs = BigInt(vector.expire_time_ns);
    assert.equal(hex(accessSigningBytes(unhex(vector.grant))), vector.signing_bytes);
    assert.equal(authorization(key, vector.network_id, expireTimeNs), vector.authorization);
    const data = Buffer.from(vector.authorization.slice("Dex ".length), "base64url");
    const token = fromBinary(AccessTokenSchema, data);
    assert.equal(hex(token.signature), vector.signature);
    const grant = fromBinary(AccessGrantSchema, token.grant);
    assert.ok(grant.expireTime !== undefined && timeNsOf(grant.expireTime) === expireTimeNs);
  }
});

test("ids", () => {
  const vectors = load("ids.json");
  for (const { shard, epoch, sequence, index, id } of vectors.ids) {
    const parts = { shard, epoch, sequence: BigInt(sequence), index };
    assert.equal(formatId(parts), id);
    assert.deepEqual(parseId(id), parts);
  }
  for (const text of vectors.invalid) {
    assert.throws(() => parseId(text), RangeError);
  }
});

test("windows", () => {
  for (const vector of load("windows.json").windows) {
    const interval = Interval[vector.interval as keyof typeof Interval];
    assert.equal(openTimeNs(BigInt(vector.time_ns), interval), BigInt(vector.open_time_ns));
  }
});
