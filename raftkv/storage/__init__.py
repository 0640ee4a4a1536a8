"""The disk of a member: data directory, log writer, storage errors."""
