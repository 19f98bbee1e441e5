"""The Trio core of a shard: journal, sequencer, snapshots, feeds, and the ports adapters fill."""
