"""Nothing of it is for Python; see `log_frame.pxd`."""
