# ruff: noqa: E501
"""Answers to the exercises of notebook 02_latent_dimension."""

SIZE = "def choose_size(losses, tolerance):\n"

BY_CLASS = "def error_by_class(errors, targets, n_classes):\n"

ANSWERS = {
    "choose_size": (
        SIZE,
        {
            "a sorted loop": "    for size in sorted(losses):\n        if losses[size] - min(losses.values()) <= tolerance:\n            return size",
            "numpy": "    import numpy as np\n    sizes, values = map(np.array, zip(*sorted(losses.items())))\n    return int(sizes[values <= values.min() + tolerance][0])",
            "filter": "    limit = min(losses.values()) + tolerance\n    return sorted(filter(lambda size: losses[size] <= limit, losses))[0]",
        },
        {
            "the lowest loss": "    return min(losses, key=losses.get)",
            "the largest size": "    lowest = min(losses.values())\n    return max(size for size, loss in losses.items() if loss <= lowest + tolerance)",
            "the first in the dictionary": "    lowest = min(losses.values())\n    return next(size for size, loss in losses.items() if loss <= lowest + tolerance)",
            "relative tolerance": "    lowest = min(losses.values())\n    return min(size for size, loss in losses.items() if loss <= lowest * (1 + tolerance))",
            "strictly less": "    lowest = min(losses.values())\n    return min(size for size, loss in losses.items() if loss < lowest + tolerance or loss == lowest)",
            "the loss, not the size": "    lowest = min(losses.values())\n    return min(loss for size, loss in losses.items() if loss <= lowest + tolerance)",
            "compared with the neighbour": "    sizes = sorted(losses)\n    for a, b in zip(sizes, sizes[1:]):\n        if losses[a] - losses[b] <= tolerance:\n            return a\n    return sizes[-1]",
            "compared with the largest size": "    last = losses[max(losses)]\n    return min(size for size, loss in losses.items() if loss <= last + tolerance)",
            "empties the dictionary": "    lowest = min(losses.values())\n    for size in sorted(losses):\n        if losses.pop(size) <= lowest + tolerance:\n            return size",
            "the check's numbers": "    return {40.0: 10, 31.2: 5, 30.0: 5, 30.1: 5}[next(iter(losses.values()))]",
        },
    ),
    "error_by_class": (
        BY_CLASS,
        {
            "a loop": "    means = torch.zeros(n_classes)\n    for k in range(n_classes):\n        means[k] = errors[targets == k].mean()\n    return means",
            "bincount": "    return torch.bincount(targets, errors, n_classes) / torch.bincount(targets, minlength=n_classes)",
            "numpy": "    return np.array([errors[targets == k].mean() for k in range(n_classes)])\n\n\nimport numpy as np",
            "one-hot": "    member = torch.nn.functional.one_hot(targets, n_classes).float()\n    return errors @ member / member.sum(dim=0)",
        },
        {
            "sum instead of mean": "    return torch.stack([errors[targets == k].sum() for k in range(n_classes)])",
            "divided by all images": "    return torch.stack([errors[targets == k].sum() / len(errors) for k in range(n_classes)])",
            "median": "    return torch.stack([errors[targets == k].median() for k in range(n_classes)])",
            "classes from 1": "    return torch.stack([errors[targets == k + 1].mean() for k in range(n_classes)])",
            "the other images": "    return torch.stack([errors[targets != k].mean() for k in range(n_classes)])",
            "one number": "    return errors.mean()",
            "sorts the input": "    errors[:] = errors[targets.argsort()]\n    targets[:] = targets.sort().values\n    return torch.stack([errors[targets == k].mean() for k in range(n_classes)])",
            "the check's numbers": "    return torch.tensor([2.0, 10.0, 3.0])",
            "sorted results": "    return torch.stack([errors[targets == k].mean() for k in range(n_classes)]).sort(descending=True).values",
        },
    ),
}
