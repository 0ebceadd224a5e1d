"""What the commands of `vae` do: a function for each, which takes the parsed arguments. Its docstring is its help."""

import dataclasses
import math
from inspect import signature
from pathlib import Path

import torch
import torch.nn.functional as F

from vae_lib import attributes, latent, settings
from vae_lib.checks import LabError
from vae_lib.cli.data import data, data_dir, is_there
from vae_lib.cli.images import (
    check_file_out,
    check_may_be_edited,
    check_pictures_out,
    check_writable,
    read_photos,
    save_pictures,
)
from vae_lib.data import DATASETS, SPLITS, load_dataset, to_float
from vae_lib.data.folders import OwnFolder
from vae_lib.data.layouts import check_data_dir
from vae_lib.engine import distributed
from vae_lib.metrics import count_parameters
from vae_lib.models import FCVAE, Autoencoder, ConvVAE
from vae_lib.photos import crop_of
from vae_lib.pretrained import finish_run, load_pretrained, shipped_flow
from vae_lib.priors import fit_prior
from vae_lib.storage.records import show_setup, summary
from vae_lib.storage.weights import read_tensors
from vae_lib.training import TrainConfig, fit

MODELS = {"conv": ConvVAE, "fc": FCVAE, "autoencoder": Autoencoder}


def train(args):
    """Train a model.

    The checkpoint beside --out keeps finished epochs; the same command goes on from it. Under torchrun several
    processes train one model.

    examples:
      vae train --data mnist --model fc --hidden 400 --latent 20 --likelihood bce --epochs 10
      vae train --data celeba --channels 32 64 128 256 --batch-norm --out runs/faces.safetensors
      vae train --data ~/Pictures/cats --size 64 --epochs 100
      vae train --config faces.toml --epochs 5
    """
    out = Path(args.out or f"runs/{Path(args.data).name}-{args.model}.safetensors").expanduser()
    checkpoint = out.with_suffix(".checkpoint")
    check_file_out(out, ".safetensors")
    if out.exists():
        raise LabError(f"{out} is there already and is never overwritten; choose another --out, or delete it.")
    config = TrainConfig(**{field.name: getattr(args, field.name) for field in dataclasses.fields(TrainConfig)})
    arguments = model_arguments(args)
    # A model that cannot be is refused before images are decoded.
    if side := args.size or DATASETS.get(args.data, OwnFolder).size:
        with torch.device("meta"):
            MODELS[args.model]((3, side, side), **arguments)
    try:
        with distributed.process_group():
            train_set, val_set, test_set = distributed.in_turn(
                lambda: [load_dataset(args.data, split, args.size, args.crop, args.limit) for split in SPLITS]
            )
            torch.manual_seed(config.seed)
            model = MODELS[args.model](train_set.image_shape, **arguments)
            record = fit(model, train_set, val_set, config, checkpoint=checkpoint, name=out.stem)
            is_first = distributed.rank() == 0
        if is_first:
            finish_run(out, model, record, train_set, test_set, checkpoint)
            next_command = "reconstruct" if args.model == "autoencoder" else "generate"
            print(f"written: {out}\ntest loss: {test_result(record)}\nnext: vae {next_command} --model {out}")
    except KeyboardInterrupt:
        done = epochs_kept(checkpoint)
        kept = f"after epoch {done}, which {checkpoint} keeps; the same command goes on from there"
        raise KeyboardInterrupt(f"interrupted {kept if done else 'in the first epoch; nothing is kept'}") from None


def model_arguments(args):
    """Arguments of the model's constructor, from those flags that were given; LabError if it does not take one."""
    given = {name: getattr(args, name) for name in ("channels", "hidden", "batch_norm", "activation", "centre")}
    given["latent_dim"] = args.latent
    given = {name: value for name, value in given.items() if value is not None}
    for name in given:
        if name not in signature(MODELS[args.model]).parameters:
            raise LabError(f"--model {args.model} takes no --{name.replace('_', '-')}; leave it out.")
    return {"centre": 0.0 if args.data == "mnist" else 0.5} | given  # digits are light on dark


def epochs_kept(checkpoint):
    """How many epochs are in a checkpoint; 0 if it is not there."""
    return len(read_tensors(checkpoint)[1].get("history", [])) if checkpoint.exists() else 0


def test_result(record):
    """The test result of a record in a few words, '-' if it has none."""
    test = record.get("test", {})
    if "one_sample" in test:
        return f"{test['one_sample'][0]:.2f} ({test['posterior_mean'][0]:.2f} from posterior means)"
    if "photographs" in test:
        return f"{100 * sum(test['photographs'].values()) / len(test['photographs']):.1f} % right"
    return "-"


@torch.no_grad()
def generate(args):
    """Make pictures from draws of the prior.

    A fitted prior is one of the codes of the dataset that the model was trained on, or of --data. Some models have a
    flow shipped with them (NAME-flow in vae info); others are fitted, for a minute or more, and not kept.

    examples:
      vae generate --samples 16 --out faces.png
      vae generate --model celeba64-conv-sigma --prior flow --out sharper.png
      vae generate --model mnist-vae-z20 --temperature 0.7 --out digits/
    """
    model, record = prepare(args)
    if args.prior == "standard":
        z = args.temperature * photos_or_draws(args, model, record, args.samples)
    elif args.temperature != 1:
        raise LabError("--temperature is a factor of draws of N(0, I); leave it out with a fitted prior.")
    else:
        prior = fitted_prior(args, model, record)
        z = prior.sample(args.samples, torch.Generator().manual_seed(args.seed))
    images = model.decode(z)
    save_pictures(args.out, images, math.ceil(math.sqrt(len(images))), images)


def reconstruct(args):
    """Encode and decode photos or images of a dataset.

    In a grid, what the model was given is above its reconstruction; single files are only the reconstructions.

    examples:
      vae reconstruct me.jpg you.png --out both.png
      vae reconstruct digit.jpg --model mnist-vae-z20 --invert
      vae reconstruct --model cifar10-conv-best --split test --samples 10
    """
    model, record = prepare(args)
    if args.photos:
        images = photos_for(args, model, record)
    else:
        images = dataset_of(args.model, model, record, args.split, args.data, args.samples).images
    originals = to_float(images)
    pictures = torch.cat([model.reconstruct(part) for part in originals.split(100)])
    columns = min(10, len(pictures))
    padding = (0, 0) * 3 + (0, -len(pictures) % columns)  # fills the last row up, in white
    rows = [F.pad(part, padding, value=1.0).split(columns) for part in (originals, pictures)]
    save_pictures(args.out, torch.cat([row for pair in zip(*rows) for row in pair]), columns, pictures)


def interpolate(args):
    """Walk between two photos, or between draws of the prior.

    examples:
      vae interpolate me.jpg you.png --steps 8 --out walk.png
      vae interpolate --samples 4 --kind slerp
    """
    model, record = prepare(args)
    ends = photos_or_draws(args, model, record, 2 * args.samples)
    if args.photos and len(ends) != 2:
        raise LabError(f"A walk leads from one photo to another: give 2 of them, not {len(ends)}, or none.")
    walks = [latent.interpolate(model, a, b, args.steps, args.kind) for a, b in zip(ends[::2], ends[1::2])]
    save_pictures(args.out, torch.cat(walks), args.steps, torch.stack(walks))


def manipulate(args):
    """Change an attribute of photos, or of draws of the prior.

    In a grid, one row is one face, and one column one weight.

    examples:
      vae manipulate --attribute Smiling --samples 8 --out smile.png
      vae manipulate me.jpg --attribute Eyeglasses --vector paired --weights -2 0 2
      vae manipulate me.jpg --attribute Young --without Male Eyeglasses
    """
    model, record = prepare(args)
    vector = attributes.shipped_vector(record, args.attribute, args.vector)
    if args.attribute in args.without:
        raise LabError(f"--without {args.attribute} leaves nothing of {args.attribute}; name other attributes.")
    if args.without:
        others = (attributes.shipped_vector(record, name) for name in args.without)
        vector = attributes.orthogonalise(vector, *others)
    faces = photos_or_draws(args, model, record, args.samples)
    rows = attributes.manipulate(model, faces, vector, args.weights)
    save_pictures(args.out, rows.flatten(0, 1), len(args.weights), rows)
    print("one row a face; columns are the weights", *(f"{weight:g}" for weight in args.weights))


def fitted_prior(args, model, record):
    """The prior that --prior names: fitted to --data, or the flow that is shipped with the model, or fitted now."""
    flow = shipped_flow(args.model, model) if args.prior == "flow" and not args.data else None
    if flow is not None:
        return flow
    check_writable(args.out)  # before the minutes that a fit takes
    return fit_prior(model, dataset_of(args.model, model, record, "train", args.data), args.prior)


def dataset_of(name, model, record, split, data=None, limit=None):
    """Images as the model called `name` takes them, of the dataset it was trained on, or of `data`. Its crop is one of
    the pixels of its own dataset, and of those that are framed alike."""
    own, size = record["data"]["name"], model.image_shape[-1]
    data = data or own
    crop = record["data"].get("crop") if data == own or {data, own} <= {"celeba", "faces"} else None
    if data is None:
        raise LabError(f"{name} does not say what it was trained on; name a dataset with --data, or photos.")
    return load_dataset(data, split, size, crop, limit)


def prepare(args):
    """The model that makes the pictures, and its record; --out is checked before. LabError for other networks."""
    check_pictures_out(args.out, args.photos)
    if args.invert and not args.photos:
        raise LabError("--invert swaps light and dark in photos; name some, or leave it out.")
    model, record = load_pretrained(args.model)
    record = {"data": {"name": None}, **record}
    if kind := {"AttributeClassifier": "classifier", "Flow": "prior"}.get(record["model"]["class"]):
        raise LabError(f"{args.model} is a {kind}, which makes no pictures; `vae info` lists the models that do.")
    return model, record


def photos_for(args, model, record):
    """The photos as the model is given them, uint8 (N, C, H, W)."""
    of_digits = record["data"]["name"] == "mnist"
    return read_photos(args.photos, model.image_shape, crop_of(record), args.invert, of_digits)


def photos_or_draws(args, model, record, n):
    """The photos, uint8 (N, C, H, W), or n draws of the prior N(0, I), (n, latent_dim); an autoencoder has no prior."""
    if args.photos:
        check_may_be_edited(args.photos)
        return photos_for(args, model, record)
    if isinstance(model, Autoencoder):
        raise LabError(
            "An autoencoder has no prior to draw from; name photos, choose a VAE, or generate with --prior flow."
        )
    return torch.randn(n, model.latent_dim, generator=torch.Generator().manual_seed(args.seed))


def info(args):
    """What is here: machine, data and models, or one model.

    examples:
      vae info
      vae info --model celeba64-conv
    """
    if args.model is not None:
        return show_model(args.model)
    show_setup()
    check_data_dir()
    print(f"data in {data_dir()} (`vae data` says more):")
    for name, release in DATASETS.items():
        there = release.root.is_dir() if release.source == "sample" else is_there(release)
        uses_sample = settings.PROFILE.real_data != "required" and settings.SAMPLE_DIR.is_dir()
        instead = ": the sample of data/sample is used" if uses_sample else ""
        print(f"  {name:9} {'on disk' if there else f'not there{instead}'}")
    print(f"models in {settings.PRETRAINED_DIR}:")
    print(f"  {'name':26} {'kind':20} {'data':8} {'epochs':>6}  test")
    for path in sorted(settings.PRETRAINED_DIR.glob("*.safetensors")):
        try:
            _, record = read_tensors(path)
            kind, data = record["model"]["class"], record["data"]["name"]
            print(f"  {path.stem:26} {kind:20} {data:8} {len(record.get('history', [])):6}  {test_result(record)}")
        except (LabError, KeyError):
            print(f"  {path.stem:26} damaged, or no model of the lab")
    if settings.WITHOUT_CLONE:
        print(f"{settings.WITHOUT_CLONE}.")


def show_model(name):
    """Print the configuration of one model and what its record says; LabError if there is no such model."""
    model, record = load_pretrained(name)
    print(f"{name}: {record['model']['class']}, {count_parameters(model):,} parameters")
    if record.get("history"):
        print(f"trained on {summary(record)}")
    if "of" in record:
        data = record["data"]
        print(f"a prior, fitted to the codes of {data['train']:,} images of {data['source']} {data['name']}")
        return
    print(f"test: {test_result(record)}")
    for part in ("model", "config"):
        print(f"{part}: {', '.join(f'{key} {value}' for key, value in record.get(part, {}).items())}")
    for kind, key in attributes.VECTORS.items():
        print(f"attribute vectors ({kind}): {', '.join(record.get(key) or ['none'])}")


COMMANDS = (train, generate, reconstruct, interpolate, manipulate, data, info)
