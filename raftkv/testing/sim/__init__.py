"""A deterministic simulator of whole members: one seed, one run.

The real `server.member.Member`, with the real Raft core, state machine, watch hub and services,
runs on a simulated clock, network and disk. See `python -m raftkv.testing.sim --help`.
"""
