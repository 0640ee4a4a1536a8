"""Where a pod fits and where it fits best: plain functions over state in memory, no I/O."""
