"""What comes in from files and programs, and what goes out. The formats themselves: annotate/formats."""
