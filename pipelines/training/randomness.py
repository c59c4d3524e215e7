"""What a step draws on the device: dropout's masks."""

import struct

import torch
from xxhash import xxh3_64_intdigest


def seed_step(seed: int, step: int, rank: int, device: torch.device) -> None:
    """Have the step draw what it would draw in an undisturbed training, and each worker something else."""
    key = xxh3_64_intdigest(struct.pack("<qqq", seed, step, rank))
    torch.default_generator.manual_seed(key)  # torch.manual_seed takes longer where there is no GPU
    if device.type == "cuda":
        torch.cuda.manual_seed(key)
