"""Projects: made, changed, their guidelines, how far each is."""
