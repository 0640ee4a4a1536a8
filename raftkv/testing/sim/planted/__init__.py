"""Planted bugs, by the layer that they are in."""
