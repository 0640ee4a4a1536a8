"""What is fuzzed: each module has `run(data)` and says what its bytes mean."""
