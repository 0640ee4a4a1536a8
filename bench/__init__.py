"""Benchmarks: raftkv and a real etcd, measured by the same load in the same run."""
