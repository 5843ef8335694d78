"""Prefloop's DPO trainer: a file of triples, a model and a config in, a model directory out.

Run it with `python -m training.dpo CONFIG.json`. It needs torch, transformers, safetensors and tqdm,
and nothing else of this project. Importing this package, `training.dpo.config` or
`training.dpo.errors` does not import torch.
"""
