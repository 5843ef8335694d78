"""How the judgements of a comparison become a triple (x, y_w, y_l), or none."""
