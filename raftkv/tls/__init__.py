"""TLS of the client and the peer port: settings, contexts that follow their files, and checks."""
