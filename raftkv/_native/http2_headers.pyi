"""Header fields of a request; nothing of it is for Python. See `http2_headers.pxd`."""
