"""OCI images built, kept and loaded on this machine, without a registry."""
