"""Nothing of it is for Python; see `log_index.pxd`."""
