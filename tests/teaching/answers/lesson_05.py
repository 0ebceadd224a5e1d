# ruff: noqa: E501
"""Answers to the exercises of notebook 05_faces."""

VARIETY = "def variety(images):\n"

GAP = "def group_gap(errors, mask):\n"

FOLDER = "class ImageFolder(torch.utils.data.Dataset):\n"


def folder(paths='sorted(folder.glob("*.jpg"))', length="len(self.paths)", item=None):
    """The class of the exercise on datasets, with one part replaced."""
    item = item or 'to_float(transforms.pil_to_tensor(Image.open(self.paths[index]).convert("RGB")))'
    return (
        f"    def __init__(self, folder):\n        self.paths = {paths}\n"
        f"    def __len__(self):\n        return {length}\n"
        f"    def __getitem__(self, index):\n        return {item}\n"
    )


ANSWERS = {
    "ImageFolder": (
        FOLDER,
        {
            "os.listdir": folder(
                "[folder / name for name in sorted(__import__('os').listdir(folder)) if name.endswith('.jpg')]"
            ),
            "torchvision.io": folder(
                item="__import__('torchvision').io.decode_image(str(self.paths[index]), 'RGB') / 255"
            ),
            "transforms": folder(
                item="transforms.to_dtype(transforms.to_image(Image.open(self.paths[index]).convert('RGB')), torch.float32, scale=True)"
            ),
        },
        {
            "not sorted": folder('list(folder.glob("*.jpg"))[::-1]'),
            "backwards": folder('sorted(folder.glob("*.jpg"), reverse=True)'),
            "every file": folder("sorted(folder.iterdir())"),
            "bytes": folder(item='transforms.pil_to_tensor(Image.open(self.paths[index]).convert("RGB"))'),
            "0 to 255": folder(item='transforms.pil_to_tensor(Image.open(self.paths[index]).convert("RGB")).float()'),
            "grey stays grey": folder(item="to_float(transforms.pil_to_tensor(Image.open(self.paths[index])))"),
            "height, width, channels": folder(
                item='to_float(transforms.pil_to_tensor(Image.open(self.paths[index]).convert("RGB"))).permute(1, 2, 0)'
            ),
            "blue, green, red": folder(
                item='to_float(transforms.pil_to_tensor(Image.open(self.paths[index]).convert("RGB"))).flip(0)'
            ),
            "upside down": folder(
                item='to_float(transforms.pil_to_tensor(Image.open(self.paths[index]).convert("RGB"))).flip(1)'
            ),
            "scaled to [-1, 1]": folder(
                item='2 * to_float(transforms.pil_to_tensor(Image.open(self.paths[index]).convert("RGB"))) - 1'
            ),
            "listed anew each time": folder(
                "folder",
                "len(list(self.paths.glob('*.jpg')))",
                "to_float(transforms.pil_to_tensor(Image.open(sorted(self.paths.glob('*.jpg'))[index]).convert('RGB')))",
            ),
            "divided by 256": folder(
                item='transforms.pil_to_tensor(Image.open(self.paths[index]).convert("RGB")) / 256'
            ),
            "one short": folder(length="len(self.paths) - 1"),
            "the check's number": folder(length="400"),
            "the next one": folder(
                item='to_float(transforms.pil_to_tensor(Image.open(self.paths[index - 1]).convert("RGB")))'
            ),
        },
    ),
    "variety": (
        VARIETY,
        {
            "moments": "    x = images.flatten(1).double()\n    n = len(x)\n    return 2 * n / (n - 1) * float((x.square().mean(0) - x.mean(0).square()).sum())",
            "a tensor": "    return 2 * images.flatten(1).var(dim=0).sum()",
            "cdist": "    x = images.flatten(1).double()\n    n = len(x)\n    return (torch.cdist(x, x).square().sum() / (n * (n - 1))).item()",
            "deviations": "    deviation = images - images.mean(dim=0, keepdim=True)\n    return 2 * deviation.square().sum().item() / (len(images) - 1)",
        },
        {
            "missing 2": "    return images.flatten(1).var(dim=0).sum().item()",
            "divided by n": "    return 2 * images.flatten(1).var(dim=0, correction=0).sum().item()",
            "mean over pixels": "    return 2 * images.flatten(1).var(dim=0).mean().item()",
            "standard deviation": "    return 2 * images.flatten(1).std(dim=0).sum().item()",
            "variance within images": "    return 2 * images.flatten(1).var(dim=1).sum().item()",
            "all values together": "    return 2 * images.var().item() * images[0].numel()",
            "neighbours only": "    return (images[1:] - images[:-1]).square().flatten(1).sum(dim=1).mean().item()",
            "distance, not squared": "    x = images.flatten(1)\n    return torch.pdist(x).mean().item()",
            "in place": "    images -= images.mean(dim=0)\n    return 2 * images.square().sum().item() / (len(images) - 1)",
            "the check's numbers": "    return {2: 12.0, 3: 24.0}.get(len(images), 0.0)",
        },
    ),
    "group_gap": (
        GAP,
        {
            "std": "    a, b = errors[mask], errors[~mask]\n    return float(a.mean() - b.mean()), float((a.std() ** 2 / len(a) + b.std() ** 2 / len(b)) ** 0.5)",
            "numpy": "    import numpy as np\n    a, b = errors[mask].numpy(), errors[~mask].numpy()\n    return float(a.mean() - b.mean()), float(np.sqrt(a.var(ddof=1) / a.size + b.var(ddof=1) / b.size))",
            "statistics": "    import statistics\n    a, b = errors[mask].tolist(), errors[~mask].tolist()\n    gap = statistics.mean(a) - statistics.mean(b)\n    return gap, (statistics.variance(a) / len(a) + statistics.variance(b) / len(b)) ** 0.5",
        },
        {
            name: f"    a, b = errors[mask], errors[~mask]\n    return {gap or '(a.mean() - b.mean()).item()'}, {width or '(a.var() / len(a) + b.var() / len(b)).sqrt().item()'}"
            for name, gap, width in [
                ("sign", "(b.mean() - a.mean()).item()", ""),
                ("against all images", "(a.mean() - errors.mean()).item()", ""),
                ("sums", "(a.sum() - b.sum()).item()", ""),
                ("medians", "(a.median() - b.median()).item()", ""),
                ("variance, not its root", "", "(a.var() / len(a) + b.var() / len(b)).item()"),
                ("divided by n", "", "(a.var(correction=0) / len(a) + b.var(correction=0) / len(b)).sqrt().item()"),
                ("not divided by the size", "", "(a.var() + b.var()).sqrt().item()"),
                ("std taken for the variance", "", "(a.std() / len(a) + b.std() / len(b)).sqrt().item()"),
                ("one group only", "", "(a.var() / len(a)).sqrt().item()"),
                ("standard errors added", "", "(a.std() / len(a) ** 0.5 + b.std() / len(b) ** 0.5).item()"),
                ("scatter of all", "", "(errors.var() / len(errors)).sqrt().item()"),
                ("the check's numbers", "3.0", "(2 / 2 + 1 / 3) ** 0.5"),
            ]
        },
    ),
}
