"""The command line: what its commands take. What they do is in commands.py."""

import argparse
import dataclasses
import json
import math
import sys
import tomllib
from pathlib import Path

from torch import OutOfMemoryError

from vae_lib import speed
from vae_lib.checks import LabError, near_names
from vae_lib.cli import commands
from vae_lib.data import DATASETS, SPLITS
from vae_lib.latent import KINDS
from vae_lib.models import ACTIVATIONS
from vae_lib.storage.files import reason
from vae_lib.training import TrainConfig

DESCRIPTION = """Train variational autoencoders and make pictures with them; no data are needed for the shipped models.
The same as: python -m vae_lib."""
EPILOG = """exit codes:
  0    done
  1    something was wrong, told in one sentence on stderr
  2    the command was not understood
  130  interrupted with Ctrl-C

vae COMMAND --help shows the flags of a command, and examples."""
PHOTO_HELP = """Of each photo the centre square is used. For a model of faces, the face should fill it as in CelebA:
eyes at mid-height, a bit more than a quarter of the square's side apart; crop the photo first if it does not."""
COMMANDS = {
    "train": ("train a model", "The checkpoint beside --out keeps finished epochs; the same command goes on from it."),
    "generate": ("make pictures from draws of the prior", ""),
    "reconstruct": ("encode and decode photos or images of a dataset", PHOTO_HELP),
    "interpolate": ("walk between two photos, or between draws of the prior", PHOTO_HELP),
    "manipulate": ("change an attribute of photos, or of draws of the prior", PHOTO_HELP),
    "info": ("what is here: machine, data and models, or one model", ""),
    "benchmark": (
        "measure the training loop against a plain one",
        "Ours and a textbook's loop (PIL images, ToTensor, DataLoader, float32) train the same models in turns, from\n"
        "the same weights, on the same images, with a constant learning rate, no mirroring, no workers. What it takes\n"
        "to decode files into our cache, once, is not counted. Some minutes; leave the machine alone meanwhile.",
    ),
    "growth": ("measure how the cost of training grows with data and model", "The pixels are random."),
}
EXAMPLES = {
    "train": (
        "vae train --data mnist --model fc --hidden 400 --latent 20 --likelihood bce --epochs 10",
        "vae train --data celeba --channels 32 64 128 256 --batch-norm --out runs/faces.safetensors",
        "vae train --config faces.toml --epochs 5",
    ),
    "generate": (
        "vae generate --samples 16 --out faces.png",
        "vae generate --model mnist-vae-z20 --temperature 0.7 --out digits/",
    ),
    "reconstruct": (
        "vae reconstruct me.jpg you.png --out both.png",
        "vae reconstruct --model cifar10-conv-best --split test --samples 10",
    ),
    "interpolate": (
        "vae interpolate me.jpg you.png --steps 8 --out walk.png",
        "vae interpolate --samples 4 --kind slerp",
    ),
    "manipulate": (
        "vae manipulate --attribute Smiling --samples 8 --out smile.png",
        "vae manipulate me.jpg --attribute Eyeglasses --without Male Young --weights -2 0 2",
    ),
    "info": ("vae info", "vae info --model celeba64-conv"),
    "benchmark": ("vae benchmark", "vae benchmark --models cifar10-conv-p2 mnist-vae-z20 --turns 9"),
    "growth": ("vae growth", "vae growth --out figures/cost_growth.png"),
}
MODEL_HELP = "name of a shipped model, or a .safetensors file"
OUT_HELP = "a .png for one grid, or a new folder for single files of the model's size"
TRAIN_HELP = {
    "batch_size": "images in a step",
    "lr": "learning rate",
    "epochs": "epochs at most; early stopping may end before",
    "beta": "weight of the KL; 1 is the ELBO",
    "likelihood": "mse or bce",
    "patience": "epochs without an improvement before stopping",
    "min_delta": "what counts as an improvement, in loss per image",
    "weight_decay": "of AdamW",
    "schedule": "of the learning rate: constant or one-cycle",
    "mirror": "mirror half of the training images",
    "seed": "of weights, order and noise",
    "precision": "float32, bfloat16, or auto: whichever is faster",
}


def whole(least, most=2**32 - 1):
    """The argparse type of whole numbers in a range."""

    def whole_number(text):
        if not least <= (value := int(text)) <= most:
            raise argparse.ArgumentTypeError(f"{value} is not between {least} and {most}")
        return value

    return whole_number


def number(text):
    """The argparse type of numbers that are finite."""
    if not math.isfinite(value := float(text)):
        raise argparse.ArgumentTypeError(f"{text} is not finite")
    return value


def add_train_flags(parser):
    """What train takes; the training itself is configured by the fields of TrainConfig."""
    parser.add_argument("--data", choices=DATASETS, default="celeba", help="the dataset (default %(default)s)")
    parser.add_argument("--size", type=whole(2), help="side to resize the images to (default: of the dataset)")
    parser.add_argument("--crop", type=whole(1), help="side of the centre square that is cut out before")
    parser.add_argument("--limit", type=whole(1), help="only the first images of each split")
    parser.add_argument(
        "--model", choices=commands.MODELS, default="conv", help="the kind of model (default %(default)s)"
    )
    parser.add_argument("--channels", type=whole(1), nargs="+", help="of the convolutions (conv; default 32 64 128)")
    parser.add_argument("--hidden", type=whole(1), nargs="+", help="layer sizes (fc, autoencoder; default 512 256)")
    parser.add_argument("--latent", type=whole(1), help="latent dimensions (default 128)")
    parser.add_argument("--batch-norm", action=argparse.BooleanOptionalAction, help="batch normalisation (conv)")
    parser.add_argument("--activation", choices=ACTIVATIONS, help="after each convolution (conv; default relu)")
    parser.add_argument("--centre", type=number, help="subtracted from the pixels (default 0.5; mnist 0)")
    for field in dataclasses.fields(TrainConfig):
        flag, text = f"--{field.name.replace('_', '-')}", TRAIN_HELP[field.name]
        if field.type is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=field.default, help=text)
        else:
            kind = {int: whole(0), float: number, str: str}[field.type]
            parser.add_argument(flag, type=kind, default=field.default, help=f"{text} (default %(default)s)")
    parser.add_argument("--config", type=Path, help="a .toml or .json file of these flags, as batch_size = 64")
    parser.add_argument("--out", help="a new .safetensors file (default runs/DATA-MODEL.safetensors)")


# --- the configuration file of train ---


def file_arguments(path):
    """A configuration file, TOML or JSON, as the flags that say the same: -> list of arguments.

    LabError for a file that is neither, an unknown key (near ones are named), or a value that the flag does not take.
    """
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_train_flags(parser)
    known = vars(parser.parse_args([])).keys() - {"config"}
    arguments = []
    for key, value in read_config(path).items():
        if key not in known:
            raise LabError(
                f"{path} has the unknown key {key!r}; known are, for example: {near_names(key, sorted(known))}."
            )
        flags = as_flags(key, value)
        try:
            parsed, rest = parser.parse_known_args(flags)
        except argparse.ArgumentError as error:
            raise LabError(f"{path}: {key} = {value!r} cannot be used: {error.message}.") from None
        if rest or getattr(parsed, key) != value:
            raise LabError(f"{path}: {key} = {value!r} is of the wrong type; `vae train --help` shows what it takes.")
        arguments += flags
    return arguments


def read_config(path):
    """The top level of a .toml or .json file as a dict."""
    readers = {".toml": tomllib.loads, ".json": json.loads}
    if path.suffix not in readers:
        raise LabError(f"--config {path}: give a file that ends in .toml or .json.")
    try:
        values = readers[path.suffix](path.read_text(encoding="utf-8-sig"))  # Notepad puts a mark before the text
    except (OSError, ValueError, RecursionError) as error:
        raise LabError(f"{path} cannot be read ({reason(error)}); correct it, or give the flags instead.") from None
    if not isinstance(values, dict):
        raise LabError(f"{path} holds no keys and values; write for example " + '{"epochs": 5}.')
    return values


def as_flags(key, value):
    """One entry of a configuration file as arguments: a list becomes several, a boolean --x or --no-x."""
    name = key.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    if isinstance(value, list):
        return [f"--{name}", *map(str, value)]
    return [f"--{name}={value}"]


def add_picture_flags(parser, out, samples, photos=True):
    """What the commands that make pictures have in common; samples: how many by default, and of what."""
    if photos:
        parser.add_argument("photos", nargs="*", metavar="PHOTO", help="image files or folders, named before the flags")
    n, what = samples
    parser.add_argument("--model", default="celeba64-conv", help=f"{MODEL_HELP} (default %(default)s)")
    parser.add_argument("--out", type=Path, default=out, help=f"{OUT_HELP} (default %(default)s)")
    parser.add_argument("--samples", type=whole(1, 1000), default=n, metavar="N", help=f"{what} (default %(default)s)")


def build_parser():
    """The parser of the command line; `args.run` is the function of the command."""
    options = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = argparse.ArgumentParser("vae", description=DESCRIPTION, epilog=EPILOG, **options)
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    added = {}
    for name, (text, notes) in COMMANDS.items():
        description = f"{text[0].upper()}{text[1:]}.\n{notes}"
        examples = "\n  ".join(("examples:", *EXAMPLES[name]))
        added[name] = subparsers.add_parser(name, help=text, description=description, epilog=examples, **options)
        added[name].set_defaults(run=getattr(commands, name))
    train, generate, reconstruct, interpolate, manipulate, info, benchmark, growth = added.values()
    add_train_flags(train)
    add_picture_flags(generate, Path("faces.png"), (16, "number of pictures"), photos=False)
    generate.add_argument("--temperature", type=number, default=1.0, help="factor of the draws (default %(default)s)")
    add_picture_flags(reconstruct, Path("reconstructions.png"), (8, "without photos: how many images of a dataset"))
    reconstruct.add_argument("--data", choices=DATASETS, help="which dataset (default: the one of the model)")
    reconstruct.add_argument("--split", choices=SPLITS, default="test", help="which part of it (default %(default)s)")
    add_picture_flags(interpolate, Path("walks.png"), (8, "without photos: how many walks, between two draws each"))
    interpolate.add_argument("--steps", type=whole(2, 1000), default=10, help="pictures a walk (default %(default)s)")
    interpolate.add_argument("--kind", choices=KINDS, default="lerp", help="line or arc (default %(default)s)")
    add_picture_flags(manipulate, Path("manipulated.png"), (8, "without photos: how many draws of the prior"))
    manipulate.add_argument("--attribute", required=True, help="such as Smiling; `vae info --model ...` lists them")
    manipulate.add_argument(
        "--weights",
        type=number,
        nargs="+",
        metavar="W",
        default=[-3, -2, -1, 0, 1, 2, 3, 4],
        help="how often the attribute's vector is added (default -3 -2 -1 0 1 2 3 4)",
    )
    manipulate.add_argument(
        "--without", nargs="+", default=[], metavar="ATTRIBUTE", help="attributes that are not to change with it"
    )
    info.add_argument("--model", help=f"{MODEL_HELP} (default: an overview of all)")
    names = {"nargs": "+", "metavar": "NAME", "choices": speed.IMAGES}
    benchmark.add_argument("--models", **names, help=f"some of {', '.join(speed.IMAGES)} (default: all)")
    benchmark.add_argument(
        "--turns", type=whole(1, 1000), default=7, help="epochs that are timed (default %(default)s)"
    )
    benchmark.add_argument("--images", type=whole(2), help="in an epoch (default: a few seconds' worth; GPU: all)")
    benchmark.add_argument("--out", type=Path, default="runs/benchmark.json", help="a .json file (default %(default)s)")
    help_text = "a .png file; the numbers go beside it as .json (default %(default)s)"
    growth.add_argument("--out", type=Path, default="runs/cost_growth.png", help=help_text)
    for command in (generate, interpolate, manipulate):
        command.add_argument("--seed", type=whole(0), default=0, help="of the draws (default %(default)s)")
    return parser


def parse(argv):
    """The arguments of the command line; those of a --config file count where no flag says otherwise."""
    args = build_parser().parse_args(argv)
    if getattr(args, "config", None):
        command, *flags = argv
        args = build_parser().parse_args([command, *file_arguments(args.config), *flags])  # the last one wins
    return args


def main(argv=None):
    """Run the command line: -> exit code, as EPILOG lists them (2 is an exit by argparse)."""
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # some terminals cannot show every file name
    try:
        args = parse(sys.argv[1:] if argv is None else argv)
        args.run(args)
    except (LabError, OSError) as error:
        print(f"vae: {error}", file=sys.stderr)
        return 1
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError | OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        print("vae: there is not enough memory; choose smaller models, images or batches.", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print(f"vae: {stop}" if str(stop) else "interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
