"""Implicit rewards β (log π − log π_ref) of stored answers, and what follows from them."""
