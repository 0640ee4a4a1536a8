"""The service proxy: cluster IPs and node ports, by nftables or in user space."""
