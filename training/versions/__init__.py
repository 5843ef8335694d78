"""Versions: brought in, described, promoted, kept, published; their lineage and what they learnt from."""
