package dex

import (
	"fmt"
	"strconv"
)

const indexBits = 12

// ID says who made an order or an account and where in the journal.
type ID struct {
	Shard    uint8
	Epoch    uint16
	Sequence int64
	Index    uint16
}

// String writes the id as it travels: 22 lower-case hex digits.
func (id ID) String() string {
	return fmt.Sprintf("%02x%04x%016x", id.Shard, id.Epoch, id.Sequence<<indexBits|int64(id.Index))
}

// ParseID reads an id as it travels.
func ParseID(text string) (ID, error) {
	bad := fmt.Errorf("an id is 22 lower-case hex digits, not %q", text)
	if len(text) != 22 {
		return ID{}, bad
	}
	for _, digit := range text {
		if (digit < '0' || digit > '9') && (digit < 'a' || digit > 'f') {
			return ID{}, bad
		}
	}
	who, err := strconv.ParseUint(text[:6], 16, 24)
	if err != nil {
		return ID{}, err
	}
	key, err := strconv.ParseInt(text[6:], 16, 64)
	if err != nil {
		return ID{}, err
	}
	return ID{
		Shard:    uint8(who >> 16),
		Epoch:    uint16(who),
		Sequence: key >> indexBits,
		Index:    uint16(key & (1<<indexBits - 1)),
	}, nil
}
