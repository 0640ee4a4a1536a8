"""The frames that a connection sends; nothing of it is for Python. See `http2_sender.pxd`."""
