"""Runs: asked for, seen through by a worker, shown. The training itself: training/dpo."""
