"""Latent arithmetic: directions that stand for an attribute, and pictures moved along them."""

import torch
import torch.nn.functional as F

from vae_lib.checks import Choices, LabError, check_finite, check_mask, near_names
from vae_lib.data.dataset import as_images
from vae_lib.latent import as_code
from vae_lib.metrics import Estimate, posterior


def attribute_vector(model, dataset, name):
    """Mean code of the images with an attribute minus the mean code of those without it: (latent_dim,), on the CPU.

    The codes are posterior means; give the train split, so that the faces shown later had no part in it.
    Raises LabError for an unknown attribute (near names are suggested), or one that all images or none have.
    Larsen et al. 2016, "Autoencoding beyond pixels using a learned similarity metric", section 4.1.2.
    """
    dataset = as_images(dataset)
    mask = dataset.attribute(name)
    check_both_kinds(mask, f"{name} in {dataset!r}")
    return mean_difference(posterior(model, dataset)[0], mask)


def attribute_vectors(codes, dataset):
    """The vector of every attribute that some images have and some have not: {name: (D,)}.
    codes: (N, D), those of the images of the dataset."""
    masks = {name: dataset.attribute(name) for name in dataset.attribute_names}
    return {name: mean_difference(codes, mask) for name, mask in masks.items() if mask.any() and not mask.all()}


ENOUGH = 100  # persons, for a paired vector that is worth keeping


def paired_vectors(codes, dataset):
    """The `paired_vector` of every attribute that at least 100 persons have in some images and not in others, and how
    many persons these are: {name: Estimate}, {name: persons}; of a dataset that does not say who is shown, none.
    codes: (N, D), those of the images of the dataset."""
    vectors, persons = {}, {}
    for name in dataset.attribute_names if "person" in dataset.factors else ():
        changes = paired_differences(codes, dataset.attribute(name), dataset.factors["person"])
        if len(changes) >= ENOUGH:
            vectors[name], persons[name] = mean_change(changes), len(changes)
    return vectors, persons


def vectors_for_record(model, dataset):
    """The vectors of both kinds as the record of a model keeps them: {"vectors": {name: [float, ...]},
    "paired_vectors": {name: [float, ...]}}. The codes are posterior means."""
    codes = posterior(model, dataset)[0] if dataset.attribute_names else None
    paired = {name: vector for name, (vector, _) in paired_vectors(codes, dataset)[0].items()}
    found = {"vectors": attribute_vectors(codes, dataset), "paired_vectors": paired}
    return {kind: {name: [round(x, 4) for x in v.tolist()] for name, v in of.items()} for kind, of in found.items()}


VECTORS = Choices("vector", difference="vectors", paired="paired_vectors")  # where the record of a model keeps them


def shipped_vector(record, name, kind="difference"):
    """The vector (latent_dim,) of an attribute in the record of a model; kind: "difference" (of means) or "paired".
    Raises LabError for an unknown kind, and for a vector that the record does not hold (near ones are named)."""
    vectors = record.get(VECTORS[kind])
    if kind == "paired" and name in record.get("vectors", {}) and name not in (vectors or {}):
        raise LabError(
            f"This model has no paired vector for {name!r}, since fewer than {ENOUGH} persons were seen both with and "
            "without it; take the difference."
        )
    if not vectors:
        raise LabError(f"This model carries no attribute vectors ({kind}); choose another, such as celeba64-conv.")
    if name not in vectors:
        near = near_names(name, vectors)
        raise LabError(f"This model has no vector ({kind}) for {name!r}; it has, for example: {near}.")
    return torch.tensor(vectors[name])


def mean_difference(codes, mask):
    """Mean of the codes in the mask minus mean of the others: codes (N, D), mask bool (N,) -> (D,).
    Raises LabError if one of the two groups is empty, or the mask is not bool."""
    check_mask("mask", mask, len(codes))
    check_both_kinds(mask, "the mask")
    return codes[mask].mean(dim=0) - codes[~mask].mean(dim=0)


def balanced_difference(codes, mask, other):
    """`mean_difference` within the images that have another attribute, and within those that have not, averaged.

    The other attribute is then equally frequent on both sides. codes: (N, D); mask, other: bool (N,) -> (D,).
    Raises LabError if one of the four groups is empty, or a mask is not bool.
    """
    check_mask("mask", mask, len(codes))
    check_mask("other", other, len(codes))
    parts = [mean_difference(codes[group], mask[group]) for group in (other, ~other)]
    return (parts[0] + parts[1]) / 2


def paired_vector(codes, mask, person):
    """The change of a person's mean code with the attribute, averaged over the persons: -> Estimate, two times (D,).

    Its mean is the vector, its error one standard error over persons, of each component. In what never changes within
    a person, such as sex, both sides are equal by design, whether somebody labelled it or not. What changes together
    with the attribute stays: cheeks with a smile.
    codes: (N, D); mask: bool (N,); person: (N,), who is shown. LabError for fewer than two persons with both kinds.
    """
    changes = paired_differences(codes, mask, person)
    if len(changes) < 2:
        have = f"{len(changes)} of {len(person.unique()):,} persons have images with the attribute and others without"
        raise LabError(f"No paired vector can be taken: {have}; two or more must, and more are better.")
    return mean_change(changes)


def mean_change(changes):
    """Mean of the changes of persons, (persons, D), and its standard error over them: -> Estimate, two times (D,)."""
    return Estimate(changes.mean(dim=0), changes.std(dim=0) / len(changes) ** 0.5)


def paired_differences(codes, mask, person):
    """Of each person with both kinds of images, mean code with the attribute minus mean code without: -> (persons, D).
    codes: floats (N, D); mask: bool (N,); person: (N,), who is shown. Persons come in the order of their numbers.
    LabError for other shapes and types."""
    fits = codes.ndim == 2 and mask.shape == person.shape == codes.shape[:1]
    if not (fits and codes.is_floating_point() and mask.dtype == torch.bool):
        found = ", ".join(f"{tuple(x.shape)} of {x.dtype}" for x in (codes, mask, person))
        raise LabError(f"Codes (N, D) of floats, a mask (N,) of bool and persons (N,) are needed; these are {found}.")
    persons, who = person.unique(return_inverse=True)
    rows = torch.cat([codes, torch.ones(len(codes), 1)], dim=1).double()  # the last column counts
    sums = torch.zeros(2 * len(persons), rows.shape[1]).double().index_add(0, 2 * who + mask, rows)
    sums = sums.view(-1, 2, rows.shape[1])  # (persons, without or with, D + 1)
    sums = sums[(sums[:, :, -1] > 0).all(dim=1)]
    without, with_it = (sums[:, :, :-1] / sums[:, :, -1:]).unbind(dim=1)
    return (with_it - without).to(codes.dtype)


def check_both_kinds(mask, what):
    """LabError unless the mask holds True as well as False."""
    if mask.all() or not mask.any():
        have = f"{mask.sum():,} of {len(mask):,} images have the attribute; some must have it, and some not"
        raise LabError(f"No difference can be taken for {what}: {have}: use more images or another attribute.")


def orthogonalise(vector, *others):
    """The vector (D,) without its components along others, at a right angle to each. LabError if nothing is left.
    Shen et al. 2020, "Interpreting the latent space of GANs for semantic face editing", section 3.2."""
    whole, matrix = vector.double(), F.normalize(torch.stack(others, dim=1).double(), dim=0)
    rest = whole - matrix @ (torch.linalg.pinv(matrix, rtol=1e-5) @ whole)  # the others may depend on each other
    if rest.norm() <= 1e-4 * whole.norm():
        raise LabError(f"Nothing is left of the vector without the {len(others)} others; take out fewer of them.")
    return rest.to(vector.dtype)


@torch.no_grad()
def manipulate(model, images_or_latents, vector, weights):
    """Add a vector to codes, with each of several weights, and decode: -> (N, len(weights), C, H, W) in [0, 1].

    images_or_latents: images (N, C, H, W), encoded to their posterior means, or codes (N, latent_dim); for a single
    one, (C, H, W) or (latent_dim,), the result is (len(weights), C, H, W). Weight 0 gives the reconstruction.
    Raises LabError for wrong shapes, and for values that are not finite.
    """
    vector, weights = torch.as_tensor(vector), torch.as_tensor(weights)
    if tuple(vector.shape) != (model.latent_dim,):
        raise LabError(f"The vector has the shape {tuple(vector.shape)}; this model's codes are ({model.latent_dim},).")
    if weights.ndim != 1:
        raise LabError(f"The weights have the shape {tuple(weights.shape)}; give a list, such as [-1, 0, 1].")
    if tuple(images_or_latents.shape) in (model.image_shape, (model.latent_dim,)):
        return manipulate(model, images_or_latents[None], vector, weights)[0]
    codes = torch.stack([as_code(model, a) for a in images_or_latents])
    moved = codes[:, None] + weights.to(codes)[:, None] * vector.to(codes)  # (N, weights, latent_dim)
    check_finite("The codes plus the weighted vector are", moved)
    return torch.stack([model.decode(walk) for walk in moved])
