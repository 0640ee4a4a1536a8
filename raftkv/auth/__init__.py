"""Who may do what: users, roles, key ranges and tokens, without clock, chance, socket or disk."""
