"""The network between members: frames, connections, transport."""
