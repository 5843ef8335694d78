"""The whole loop with a model server that is not ours: `python -m bench.served DIRECTORY`."""
