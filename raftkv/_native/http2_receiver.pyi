"""The frames that a connection receives; nothing of it is for Python. See `http2_receiver.pxd`."""
