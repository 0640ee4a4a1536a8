"""How every component talks to the API server: REST, reflector, informer, work queue, events."""
