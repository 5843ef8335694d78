"""AI annotators: a model behind an endpoint judges through the queue, as people do."""
