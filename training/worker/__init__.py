"""What every job has in common: who works on it, how it is stopped, on which machine."""
