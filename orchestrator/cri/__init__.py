"""The kubelet's client for the Container Runtime Interface."""
