"""Every version and imported model on one scale, by all that was judged."""
