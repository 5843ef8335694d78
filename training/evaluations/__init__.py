"""Blind evaluations: two versions, judged by people who know nothing of them, and what the figures say."""
