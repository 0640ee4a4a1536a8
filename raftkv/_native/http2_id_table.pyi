"""Streams by id, for other native modules only; Python calls nothing here."""
