"""Coverage-guided fuzzing: see `tools/fuzz`."""
