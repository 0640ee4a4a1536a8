"""The loops that make what is so into what was asked for.

Each controller is two files where its decisions deserve one: a plan, which takes objects and a time
and returns what to change, and the loop that reads the cache, plans, and writes the difference.
"""
