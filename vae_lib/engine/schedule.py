"""The learning rate in the course of a training."""

import math

from vae_lib.checks import Choices


def constant(progress):
    """The configured learning rate throughout."""
    return 1.0


def one_cycle(progress, warm_up=0.1):
    """A linear warm-up, then half a cosine to 0 (Smith & Topin 2018)."""
    if progress < warm_up:
        return 0.04 + 0.96 * progress / warm_up
    return 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))


SCHEDULES = Choices("schedule", **{"constant": constant, "one-cycle": one_cycle})  # progress -> factor of config.lr


def learning_rate(config, progress):
    """Learning rate when the share `progress` (0 to 1) of the planned steps is done."""
    return config.lr * SCHEDULES[config.schedule](progress)


def set_learning_rate(optimizer, lr):
    """The learning rate of the next step, for all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = lr
