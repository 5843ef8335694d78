"""How a version answers prompts, and how its answers fill the queue."""
