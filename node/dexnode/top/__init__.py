"""The live screen of one market: what it knows (`state`), how that looks (`*_view`, `screen`)."""
