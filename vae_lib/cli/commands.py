"""What the commands of the command line do: a function for each, which takes the parsed arguments."""

import dataclasses
import math
import tempfile
from inspect import signature
from pathlib import Path

import torch
import torch.nn.functional as F

from vae_lib import attributes, cost, latent, settings, speed
from vae_lib.checks import LabError
from vae_lib.cli.images import check_out, numbered, read_photos, save_pictures
from vae_lib.data import DATASETS, SPLITS, load_dataset, show_setup, to_float
from vae_lib.engine import distributed
from vae_lib.engine.steps import at_work
from vae_lib.models import FCVAE, Autoencoder, ConvVAE, count_parameters
from vae_lib.storage.files import replacing, write_json, writing
from vae_lib.storage.weights import load_pretrained, read_tensors, round_to_half, save_pretrained
from vae_lib.training import TrainConfig, fit, losses_on, summary

MODELS = {"conv": ConvVAE, "fc": FCVAE, "autoencoder": Autoencoder}
ON_DISK = {
    "mnist": ("MNIST",),
    "cifar10": ("cifar-10-batches-py", "cifar-10-batches-bin"),
    "celeba": ("celeba",),
    "ffhq": ("ffhq",),
}
COLUMNS = 10  # of a grid, at most


# --- train ---


def train(args):
    """Train a model, or go on with a training that was interrupted, and write its weights and record to --out.

    Under torchrun the processes train it together, and the first one writes.
    """
    out = Path(args.out or f"runs/{args.data}-{args.model}.safetensors")
    checkpoint = out.with_suffix(".checkpoint")
    check_weights_path(out)
    config = TrainConfig(**{field.name: getattr(args, field.name) for field in dataclasses.fields(TrainConfig)})
    arguments = model_arguments(args)
    if side := args.size or DATASETS[args.data].size:  # a model that cannot be is refused before images are decoded
        with torch.device("meta"):
            MODELS[args.model]((3, side, side), **arguments)
    try:
        with distributed.joined():
            train_set, val_set, test_set = distributed.in_turn(
                lambda: [load_dataset(args.data, split, args.size, args.crop, args.limit) for split in SPLITS]
            )
            torch.manual_seed(config.seed)
            model = MODELS[args.model](train_set.image_shape, **arguments)
            record = fit(model, train_set, val_set, config, checkpoint=checkpoint, name=out.stem)
            writes = distributed.rank() == 0
        if not writes:
            return
        round_to_half(model)
        record["test"] = losses_on(test_set, model, config)
        with at_work(model):
            record["vectors"] = attributes.vectors_for_record(model, train_set)
        save_pretrained(out, model, record)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(what_is_kept(checkpoint)) from None
    checkpoint.unlink(missing_ok=True)
    next_command = "reconstruct" if args.model == "autoencoder" else "generate"
    print(f"written: {out}\ntest loss: {test_result(record)}\nnext: vae {next_command} --model {out}")


def check_weights_path(out):
    """LabError, before hours of training, unless new weights can be written there."""
    if out.suffix != ".safetensors":
        raise LabError(f"--out {out}: give a file name that ends in .safetensors.")
    if out.exists():
        raise LabError(f"{out} is there already and is never overwritten; choose another --out, or delete it.")
    check_place(out)


def check_place(out):
    """LabError, before long work, unless a file can be written there."""
    if out.is_dir():
        raise LabError(f"--out {out} is a folder; give the name of a file.")
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out.parent).close()


def model_arguments(args):
    """Arguments of the model's constructor, from those flags that were given; LabError if it does not take one."""
    given = {name: getattr(args, name) for name in ("channels", "hidden", "batch_norm", "activation")}
    given = {name: value for name, value in given.items() if value is not None}
    for name in given:
        if name not in signature(MODELS[args.model]).parameters:
            raise LabError(f"--model {args.model} takes no --{name.replace('_', '-')}; leave it out.")
    if args.latent is not None:
        given["latent_dim"] = args.latent
    light_on_dark = args.data == "mnist"
    return given | {"centre": (0.0 if light_on_dark else 0.5) if args.centre is None else args.centre}


def epochs_kept(checkpoint):
    """How many epochs are in a checkpoint; 0 if it is not there."""
    return len(read_tensors(checkpoint)[1].get("history", [])) if checkpoint.exists() else 0


def what_is_kept(checkpoint):
    """What an interrupted training leaves, in words."""
    done = epochs_kept(checkpoint)
    if not done:
        return "interrupted before the end of the first epoch, so nothing is kept"
    epochs = "epoch 1 is" if done == 1 else f"epochs 1 to {done} are"
    return f"interrupted; {epochs} kept in {checkpoint}, and the same command goes on from there"


def test_result(record):
    """The test result of a record in a few words, '-' if it has none."""
    test = record.get("test", {})
    if "one_sample" in test:
        return f"{test['one_sample'][0]:.2f} ({test['posterior_mean'][0]:.2f} from posterior means)"
    if "photographs" in test:
        return f"{100 * sum(test['photographs'].values()) / len(test['photographs']):.1f} % right"
    return "-"


# --- pictures ---


def load_vae(name):
    """A model that makes pictures, and its record, which says what it was trained on; LabError for a classifier."""
    model, record = load_pretrained(name)
    record = {"data": {"name": None}, **record}
    if record["model"]["class"] == "AttributeClassifier":
        raise LabError(f"{name} is a classifier, which makes no pictures; `vae info` lists the models that do.")
    return model, record


def draws(model, n, seed):
    """n draws of the prior N(0, I): -> (n, latent_dim).

    LabError for an autoencoder, which has none.
    """
    if isinstance(model, Autoencoder):
        raise LabError("An autoencoder has no prior to draw from; name photos, or choose a VAE with --model.")
    return torch.randn(n, model.latent_dim, generator=torch.Generator().manual_seed(seed))


def read_faces(paths, model, record):
    """`read_photos` for this model; says what a photo must look like for a model of aligned faces."""
    images = read_photos(paths, model.image_shape)
    if record["data"]["name"] == "celeba":
        print("The face should fill the square as in CelebA: eyes at mid-height, a bit more than a quarter apart.")
    return images


@torch.no_grad()
def generate(args):
    """Decode draws of the prior."""
    check_out(args.out)
    model, _ = load_vae(args.model)
    images = model.decode(args.temperature * draws(model, args.samples, args.seed))
    save_pictures(args.out, images, math.ceil(math.sqrt(len(images))), numbered(images))


def reconstruct(args):
    """Originals above their reconstructions from the posterior mean; of single files, only the reconstructions."""
    check_out(args.out, args.photos)
    model, record = load_vae(args.model)
    if args.photos:
        images = read_faces(args.photos, model, record)
    else:
        name, size = args.data or record["data"]["name"], model.image_shape[-1]
        if name is None:
            raise LabError(f"{args.model} does not say what it was trained on; name a dataset with --data, or photos.")
        images = load_dataset(name, args.split, size, record["data"].get("crop"), args.samples).images
    originals = to_float(images)
    pictures = torch.cat([model.reconstruct(part) for part in originals.split(100)])
    columns = min(COLUMNS, len(pictures))
    save_pictures(args.out, in_pairs(originals, pictures, columns), columns, numbered(pictures))


def in_pairs(above, below, columns):
    """Rows of one kind of image, each above its row of the other, both (N, C, H, W); the last is filled up white."""
    padding = (0, 0) * 3 + (0, -len(above) % columns)
    rows = [F.pad(images, padding, value=1.0).split(columns) for images in (above, below)]
    return torch.cat([row for pair in zip(*rows) for row in pair])


def interpolate(args):
    """Walks between two photos, or between pairs of draws of the prior: one row a walk."""
    check_out(args.out, args.photos)
    model, record = load_vae(args.model)
    if args.photos:
        ends = read_faces(args.photos, model, record)
        if len(ends) != 2:
            raise LabError(f"A walk leads from one photo to another: give 2 of them, not {len(ends)}, or none.")
    else:
        ends = draws(model, 2 * args.samples, args.seed)
    pairs = zip(ends[::2], ends[1::2])
    save_rows(args.out, torch.stack([latent.interpolate(model, a, b, args.steps, args.kind) for a, b in pairs]))


def manipulate(args):
    """Photos or draws of the prior, moved along the vector of an attribute: one row a face, one column a weight."""
    check_out(args.out, args.photos)
    model, record = load_vae(args.model)
    vector = attributes.shipped_vector(record, args.attribute)
    if args.attribute in args.without:
        raise LabError(f"--without {args.attribute} leaves nothing of {args.attribute}; name other attributes.")
    if args.without:
        others = (attributes.shipped_vector(record, name) for name in args.without)
        vector = attributes.orthogonalise(vector, *others)
    faces = read_faces(args.photos, model, record) if args.photos else draws(model, args.samples, args.seed)
    save_rows(args.out, attributes.manipulate(model, faces, vector, args.weights))
    print("one row a face; columns are the weights", *(f"{weight:g}" for weight in args.weights))


def save_rows(out, rows):
    """Write pictures (rows, columns, C, H, W)."""
    save_pictures(out, rows.flatten(0, 1), rows.shape[1], numbered(rows))


# --- info ---


def info(args):
    """What is here: machine, data, shipped models; or, with --model, what is known about one."""
    if args.model is not None:
        show_model(args.model)
        return
    show_setup()
    print(f"data in {settings.DATA_DIR}:")
    for name, places in ON_DISK.items():
        there = any((settings.DATA_DIR / place).is_dir() for place in places)
        print(f"  {name:8} {'on disk' if there else 'not there'}")
    print(f"models in {settings.PRETRAINED_DIR}:")
    print(f"  {'name':26} {'kind':20} {'data':8} {'epochs':>6}  test")
    for path in sorted(settings.PRETRAINED_DIR.glob("*.safetensors")):
        try:
            _, record = read_tensors(path)
            kind, data = record["model"]["class"], record["data"]["name"]
            print(f"  {path.stem:26} {kind:20} {data:8} {len(record['history']):6}  {test_result(record)}")
        except (LabError, KeyError):
            print(f"  {path.stem:26} damaged, or no model of the lab")


def show_model(name):
    """Print the configuration of one model and what its record says."""
    model, record = load_pretrained(name)
    print(f"{name}: {record['model']['class']}, {count_parameters(model):,} parameters")
    if record.get("history"):
        print(f"trained on {summary(record)}")
    print(f"test: {test_result(record)}")
    for part in ("model", "config"):
        print(f"{part}: {', '.join(f'{key} {value}' for key, value in record.get(part, {}).items())}")
    print(f"attribute vectors: {', '.join(record.get('vectors') or ['none'])}")


# --- what training costs ---


def benchmark(args):
    """Our training loop against the textbook's: prints a table, writes all that was measured as JSON."""
    check_place(args.out)
    show_setup()
    write_json(args.out, speed.run(args.models or list(speed.IMAGES), args.turns, args.images), indent=1)
    print(f"written: {args.out}")


def growth(args):
    """How time and memory grow with data and model: prints a table, writes a figure, and its numbers as JSON."""
    from vae_lib.plots import plot_growth  # matplotlib takes a while, and the other commands do without

    if args.out.suffix != ".png":
        raise LabError(f"--out {args.out}: give a file name that ends in .png.")
    check_place(args.out)
    show_setup()
    results = cost.run()
    with writing(args.out), replacing(args.out) as temporary:
        plot_growth(results, settings.hardware()).savefig(temporary, format="png", metadata={"Software": None})
    write_json(args.out.with_suffix(".json"), {**settings.surroundings(), "series": results}, indent=1)
    print(f"written: {args.out} and {args.out.with_suffix('.json')}")
