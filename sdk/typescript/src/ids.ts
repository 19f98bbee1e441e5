// Ids of orders and accounts: 22 lower-case hex digits on the wire.

const INDEX_BITS = 12n;
const INDEX_MASK = (1n << INDEX_BITS) - 1n;
const KEY_MAX = (1n << 63n) - 1n;
const PATTERN = /^[0-9a-f]{22}$/;

/** Who made an order or an account, and where in the journal. */
export interface Id {
  readonly shard: number;
  readonly epoch: number;
  readonly sequence: bigint;
  readonly index: number;
}

/** Writes an id as it travels. */
export function formatId(id: Id): string {
  const key = (id.sequence << INDEX_BITS) | BigInt(id.index);
  return hex(id.shard, 2) + hex(id.epoch, 4) + hex(key, 16);
}

/** Reads an id as it travels; RangeError when it is none. */
export function parseId(text: string): Id {
  const key = PATTERN.test(text) && text.length === 22 ? BigInt(`0x${text.slice(6)}`) : -1n;
  if (key < 0n || key > KEY_MAX) {
    throw new RangeError(`an id is 22 lower-case hex digits, not ${JSON.stringify(text)}`);
  }
  return {
    shard: Number.parseInt(text.slice(0, 2), 16),
    epoch: Number.parseInt(text.slice(2, 6), 16),
    sequence: key >> INDEX_BITS,
    index: Number(key & INDEX_MASK),
  };
}

function hex(value: number | bigint, digits: number): string {
  return value.toString(16).padStart(digits, "0");
}
