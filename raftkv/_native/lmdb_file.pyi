"""For other native modules only: see `lmdb_file.pxd`."""
