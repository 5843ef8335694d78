"""Known answers, and newcomers who are given them first."""
