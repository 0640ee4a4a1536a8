"""Simulated and real clusters for tests; production code never imports this package."""
