# Only C classes: cimported by the store.
