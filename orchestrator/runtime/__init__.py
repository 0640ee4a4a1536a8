"""What runs containers: one protocol, and containerd, process and hollow behind it."""
