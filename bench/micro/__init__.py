"""Micro-benchmarks: `python -m pytest bench/micro`. Each native part beside its plain twin."""
