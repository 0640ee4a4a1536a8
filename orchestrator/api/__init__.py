"""What Kubernetes objects are: kinds, defaults, validation, patches, selectors, tables, schemas.

Nothing here performs I/O or knows a clock: objects are JSON dictionaries, and time and randomness
are arguments. The API server, the clients and the controllers share this package.
"""
