"""Volumes that the kubelet prepares as directories for containers."""
