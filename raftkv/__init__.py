"""raftkv: a replicated key-value store that any etcd v3 client takes for etcd."""

__version__ = "0.1.0"
