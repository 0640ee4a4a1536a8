"""The consensus algorithm, without clock, socket or disk: see `node.RaftNode`."""
