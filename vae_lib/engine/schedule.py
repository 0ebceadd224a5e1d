"""The learning rate in the course of a training."""

import math


def learning_rate(config, progress):
    """Learning rate when the share `progress` (0 to 1) of the planned steps is done."""
    if config.schedule == "constant":
        return config.lr
    warm_up = 0.1
    if progress < warm_up:
        return config.lr * (0.04 + 0.96 * progress / warm_up)
    return config.lr * 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))


def set_learning_rate(optimizer, lr):
    """The learning rate of the next step, for all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = lr
