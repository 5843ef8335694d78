"""What is handed out next, to whom, and for how long; and why somebody gets nothing."""
