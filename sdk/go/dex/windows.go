package dex

import (
	"fmt"

	klinev1 "triodex.example/gen/go/dex/kline/v1"
)

var intervalNs = map[klinev1.Interval]int64{
	klinev1.Interval_INTERVAL_1S: 1_000_000_000,
	klinev1.Interval_INTERVAL_1M: 60_000_000_000,
	klinev1.Interval_INTERVAL_5M: 300_000_000_000,
	klinev1.Interval_INTERVAL_1H: 3_600_000_000_000,
	klinev1.Interval_INTERVAL_1D: 86_400_000_000_000,
}

// OpenTimeNs is the start of the K-line window that holds timeNs, both in
// nanoseconds since the epoch. Times before the epoch are out of range.
func OpenTimeNs(timeNs int64, interval klinev1.Interval) (int64, error) {
	length, known := intervalNs[interval]
	if !known || timeNs < 0 {
		return 0, fmt.Errorf("no window of %v holds %d", interval, timeNs)
	}
	return timeNs - timeNs%length, nil
}
