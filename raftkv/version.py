"""The versions that are told to clients."""

RAFTKV_VERSION = "0.1.0"
ETCD_VERSION = "3.6.0"
"""The etcd whose API this is. Clients gate features on it (kube-apiserver: RequestProgress)."""
