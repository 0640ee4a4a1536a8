# Only C classes and functions: cimported by the store.
