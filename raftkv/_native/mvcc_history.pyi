# Only C functions: cimported by the store.
