"""Counting the live keys of a range: used by the native modules only."""
