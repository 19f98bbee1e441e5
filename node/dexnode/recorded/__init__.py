"""Recorded streams of other venues: import as external trades, replay as orders of our own book."""
