"""What this installation sends to addresses that people have typed in."""
