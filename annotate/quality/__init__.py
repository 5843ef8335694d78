"""What the judgements tell of the people who made them: agreement, leans, times, how often each is right."""
