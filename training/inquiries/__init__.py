"""What programs ask a version: answers, log-probabilities, implicit rewards."""
