"""The services of the client port, one a file, and the protocols under them."""
