"""The API server: Kubernetes' REST interface over TLS, its state in the etcd v3 API."""
