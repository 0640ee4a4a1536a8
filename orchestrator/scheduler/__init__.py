"""Give pods their nodes: a pure plan over cluster state, and a thin loop that binds."""
