"""Model servers that answer in place of weights of ours: registered, tried, asked."""
