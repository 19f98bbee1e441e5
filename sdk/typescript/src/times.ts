// Times are bigint nanoseconds since the Unix epoch inside, Timestamps on the wire.

import { create } from "@bufbuild/protobuf";
import { TimestampSchema } from "@bufbuild/protobuf/wkt";
import type { Timestamp } from "@bufbuild/protobuf/wkt";

const NS_PER_SECOND = 1_000_000_000n;

/** The wire form of a time that is not before the epoch. */
export function timestampOf(timeNs: bigint): Timestamp {
  const nanos = Number(timeNs % NS_PER_SECOND);
  return create(TimestampSchema, { seconds: timeNs / NS_PER_SECOND, nanos });
}

/** Nanoseconds since the epoch of a time from the wire. */
export function timeNsOf(timestamp: Timestamp): bigint {
  return timestamp.seconds * NS_PER_SECOND + BigInt(timestamp.nanos);
}
