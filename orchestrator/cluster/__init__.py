"""A whole cluster on this machine: `orchestrator up`, `status` and `down`."""
