"""An annotator's answer to a pair: what can be said, how it is stored, what they see of it afterwards."""
