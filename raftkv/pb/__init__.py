"""Generated protobuf modules of the etcd v3 API."""
