"""The audit log: signed heads over the journal's Merkle tree, and checking them offline."""
