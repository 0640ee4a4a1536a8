"""The node agent: registers a node and keeps the pods that are bound to it running."""
