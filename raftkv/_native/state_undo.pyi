# Only C functions: cimported by the flusher.
