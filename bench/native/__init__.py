"""The load generator's native parts; they measure the store and are in no wheel."""
