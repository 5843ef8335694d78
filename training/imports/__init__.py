"""Uploaded files on their way in: small ones at once, others by a worker."""
