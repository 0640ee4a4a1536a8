"""orchestrator: a Kubernetes control plane and node agent whose only store is the etcd v3 API."""

__version__ = "0.1.0"
