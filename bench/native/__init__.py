"""The load generator's native parts. They measure the store and are no part of it: no wheel has them."""
