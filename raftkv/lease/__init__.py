"""Leases as the leader times them: who lives how long. No clock, no I/O: time is an argument."""
