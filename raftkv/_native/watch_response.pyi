"""Encoding the parts of a WatchResponse: used by the native modules only."""
