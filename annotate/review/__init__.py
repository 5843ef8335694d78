"""Comparisons in dispute, and what a manager decides about them."""
