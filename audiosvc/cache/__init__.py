"""Encoded tracks kept in memory and on disk: what was played before needs no fetch, no decode and no encode."""
