// Ed25519 keys (RFC 8032), in memory and in PEM PKCS #8 files (RFC 8410).

import { createPrivateKey, createPublicKey, sign, verify as verifyWith } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { readFileSync, statSync } from "node:fs";

const PRIVATE_PREFIX = Buffer.from("302e020100300506032b657004220420", "hex");
const PUBLIC_PREFIX = Buffer.from("302a300506032b6570032100", "hex");
const KEY_BYTES = 32;
const SIGNATURE_BYTES = 64;

/** A private Ed25519 key; its secret stays inside node's KeyObject. */
export class Key {
  readonly #secret: KeyObject;
  /** The public key, 32 bytes. */
  readonly publicBytes: Uint8Array;

  private constructor(secret: KeyObject) {
    if (secret.asymmetricKeyType !== "ed25519") {
      throw new TypeError("not an Ed25519 key");
    }
    this.#secret = secret;
    const der = createPublicKey(secret).export({ format: "der", type: "spki" });
    this.publicBytes = new Uint8Array(der.subarray(PUBLIC_PREFIX.length));
  }

  /** The key of a 32-byte seed. */
  static fromSeed(seed: Uint8Array): Key {
    if (seed.length !== KEY_BYTES) {
      throw new RangeError("an Ed25519 seed has 32 bytes");
    }
    const key = Buffer.concat([PRIVATE_PREFIX, seed]);
    return new Key(createPrivateKey({ key, format: "der", type: "pkcs8" }));
  }

  /** Reads a PEM file; refuses one that anyone but its owner may use. */
  static load(path: string): Key {
    if ((statSync(path).mode & 0o077) !== 0) {
      throw new Error(`${path} may be used by others: chmod 600 it`);
    }
    return new Key(createPrivateKey(readFileSync(path)));
  }

  /** The 64-byte signature over `message`. */
  sign(message: Uint8Array): Uint8Array {
    return new Uint8Array(sign(null, message, this.#secret));
  }
}

/** Whether `signature` is one of `message` by the holder of `publicKey`. */
export function verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  if (publicKey.length !== KEY_BYTES || signature.length !== SIGNATURE_BYTES) {
    return false;
  }
  const key = Buffer.concat([PUBLIC_PREFIX, publicKey]);
  return verifyWith(null, message, createPublicKey({ key, format: "der", type: "spki" }), signature);
}
