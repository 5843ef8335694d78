"""`make demo`: the whole loop on the real model, with scripted annotators instead of people."""
