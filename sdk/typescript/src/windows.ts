// K-line windows: aligned to UTC, [open, open + interval).

import { Interval } from "../gen/dex/kline/v1/kline_query_pb.js";

const INTERVAL_NS: ReadonlyMap<Interval, bigint> = new Map([
  [Interval.INTERVAL_1S, 1_000_000_000n],
  [Interval.INTERVAL_1M, 60_000_000_000n],
  [Interval.INTERVAL_5M, 300_000_000_000n],
  [Interval.INTERVAL_1H, 3_600_000_000_000n],
  [Interval.INTERVAL_1D, 86_400_000_000_000n],
]);

/** Start of the window that holds `timeNs`, both in nanoseconds since the epoch. */
export function openTimeNs(timeNs: bigint, interval: Interval): bigint {
  const length = INTERVAL_NS.get(interval);
  if (length === undefined || timeNs < 0n) {
    throw new RangeError(`no window of ${interval} holds ${timeNs}`);
  }
  return timeNs - (timeNs % length);
}
