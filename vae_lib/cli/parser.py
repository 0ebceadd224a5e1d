"""The command line `vae`: flags and exit codes. What the commands do, and the help of each, is in commands.py."""

import argparse
import dataclasses
import inspect
import json
import math
import os
import sys
import tomllib
from pathlib import Path

from torch import OutOfMemoryError

from vae_lib import priors
from vae_lib.attributes import VECTORS
from vae_lib.checks import LabError, near_names
from vae_lib.cli import commands
from vae_lib.data import DATASETS, SPLITS
from vae_lib.data.sample import PUBLISHED
from vae_lib.latent import INTERPOLATIONS
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
  141  whoever read the output went away, as in vae info | head

vae COMMAND --help shows the flags of a command, and examples."""
PHOTO_HELP = """image files, folders, or patterns such as "*.jpg", named before the flags. A model of faces is given the
largest face, found by the extra `photos`, which is OpenCV; other models, and where no face is found, the centre square:
a face should fill it, eyes at mid-height, a bit more than a quarter of the side apart"""
DATA_HELP = f"{', '.join(DATASETS)}, or a folder of pictures of your own"
MODEL_HELP = "name of a shipped model, or a .safetensors file"
OUT_HELP = "a .png for one grid, or a new folder for single files of the model's size"
RAW = argparse.RawDescriptionHelpFormatter  # keeps the line breaks of these texts


def main(argv=None):
    """Run the command line: -> exit code, as EPILOG lists them (2 is an exit by argparse)."""
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # some terminals cannot show every file name
    try:
        try:
            args = parse(sys.argv[1:] if argv is None else argv)
            args.run(args)
        finally:  # also after --help
            print(end="", flush=True)  # here, not when Python ends, a reader that went away can be told from an error
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left is written when Python ends
        return 141  # 128 + SIGPIPE, as of other tools
    except (LabError, OSError) as error:
        print(f"vae: {error}", file=sys.stderr)
        return 1
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError | OutOfMemoryError) and "DefaultCPUAllocator" not in str(error):
            raise
        print("vae: there is not enough memory; choose smaller models, images or batches.", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print(f"vae: {stop}" if str(stop) else "interrupted", file=sys.stderr)
        return 130
    return 0


def parse(argv):
    """The arguments of the command line; those of a --config file count where no flag says otherwise."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if getattr(args, "config", None):
        args = parser.parse_args([argv[0], *file_arguments(args.config), *argv[1:]])  # the last one wins
    return args


# --- the flags ---


def build_parser():
    """The parser of the command line; `args.run` is the function of the command, whose docstring is its help."""
    parser = argparse.ArgumentParser("vae", description=DESCRIPTION, epilog=EPILOG, formatter_class=RAW)
    add_parser = parser.add_subparsers(dest="command", metavar="COMMAND", required=True).add_parser
    of = {}  # {command: its parser}
    for run in commands.COMMANDS:
        text = inspect.getdoc(run) or ""  # python -OO drops it
        of[run] = add_parser(run.__name__, help=text.split(".\n")[0], description=text, formatter_class=RAW)
        of[run].set_defaults(run=run)
    add_train_flags(of[commands.train])
    of[commands.info].add_argument("--model", help=f"{MODEL_HELP} (default: an overview of all)")
    actions = of[commands.data].add_subparsers(dest="action", metavar="[fetch]", help="download datasets")
    text = f"which of them: {', '.join(PUBLISHED)}"
    actions.add_parser("fetch").add_argument("names", nargs="+", choices=PUBLISHED, metavar="NAME", help=text)

    flag = add_picture_flags(of[commands.generate], "faces.png", 16, "pictures", photos=False)
    flag("--temperature", type=number, default=1.0, help="factor of the draws (default %(default)s)")
    text = "what is drawn from: standard is N(0, I); the others are fitted to the codes of the model's dataset"
    flag("--prior", choices=("standard", *priors.KINDS), default="standard", help=f"{text} (default %(default)s)")
    flag("--data", type=dataset, help=f"what a prior is fitted to: {DATA_HELP} (default: the one of the model)")

    flag = add_picture_flags(of[commands.reconstruct], "reconstructions.png", 8, "images of a dataset", seed=False)
    flag("--data", type=dataset, help=f"{DATA_HELP} (default: the one of the model)")
    flag("--split", choices=SPLITS, default="test", help="which part of it (default %(default)s)")

    flag = add_picture_flags(of[commands.interpolate], "walks.png", 8, "walks, each between two draws of the prior")
    flag("--steps", type=whole(2, 1000), default=10, help="pictures a walk (default %(default)s)")
    flag("--kind", choices=INTERPOLATIONS, default="lerp", help="line or arc (default %(default)s)")

    flag = add_picture_flags(of[commands.manipulate], "manipulated.png", 8, "draws of the prior")
    flag("--attribute", required=True, help="such as Smiling; `vae info --model ...` lists them")
    text = "difference: of the mean codes with and without it; paired: within persons (default %(default)s)"
    flag("--vector", choices=VECTORS, default="difference", help=text)
    text = "how often the attribute's vector is added (default -3 -2 -1 0 1 2 3 4)"
    flag("--weights", type=number, nargs="+", metavar="W", default=[-3, -2, -1, 0, 1, 2, 3, 4], help=text)
    text = "attributes whose difference vectors are taken out of it"
    flag("--without", nargs="+", default=[], metavar="ATTRIBUTE", help=text)
    return parser


def add_train_flags(parser):
    """What train takes; those flags that are fields of TrainConfig have its defaults."""
    flag, switch = parser.add_argument, argparse.BooleanOptionalAction
    flag("--data", type=dataset, default="celeba", help=f"{DATA_HELP} (default %(default)s)")
    flag("--size", type=whole(2), help="side to resize the images to (default: of the dataset)")
    flag("--crop", type=whole(1), help="side of the centre square that is cut out before")
    flag("--limit", type=whole(1), help="so many images of each split")
    flag("--model", choices=commands.MODELS, default="conv", help="the kind of model (default %(default)s)")
    flag("--channels", type=whole(1), nargs="+", help="of the convolutions (conv; default 32 64 128)")
    flag("--hidden", type=whole(1), nargs="+", help="layer sizes (fc, autoencoder; default 512 256)")
    flag("--latent", type=whole(1), help="latent dimensions (default 128)")
    flag("--batch-norm", action=switch, help="batch normalisation (conv)")
    flag("--activation", choices=ACTIVATIONS, help="after each convolution (conv; default relu)")
    flag("--centre", type=number, help="subtracted from the pixels (default 0.5; mnist 0)")
    flag("--batch-size", type=whole(0), help="images in a step (default %(default)s)")
    flag("--lr", type=number, help="learning rate (default %(default)s)")
    flag("--epochs", type=whole(0), help="epochs at most; early stopping may end before (default %(default)s)")
    flag("--beta", type=number, help="weight of the KL; 1 is the ELBO (default %(default)s)")
    flag("--likelihood", help="mse, bce or gaussian (default %(default)s)")
    flag("--patience", type=whole(0), help="epochs without an improvement before stopping (default %(default)s)")
    flag("--min-delta", type=number, help="what counts as an improvement, in loss per image (default %(default)s)")
    flag("--weight-decay", type=number, help="of AdamW (default %(default)s)")
    flag("--schedule", help="of the learning rate: constant or one-cycle (default %(default)s)")
    flag("--mirror", action=switch, help="mirror half of the training images")
    flag("--seed", type=whole(0), help="of weights, order and noise (default %(default)s)")
    flag("--precision", help="float32, bfloat16, or auto: whichever is faster (default %(default)s)")
    parser.set_defaults(**dataclasses.asdict(TrainConfig()))
    flag("--config", type=Path, help="a .toml or .json file of these flags, as batch_size = 64")
    flag("--out", help="a new .safetensors file (default runs/DATA-MODEL.safetensors)")


def add_picture_flags(parser, out, samples, of_what, photos=True, seed=True):
    """What the commands that make pictures take; samples: how many by default. Returns the parser's add_argument."""
    flag, text = parser.add_argument, f"how many {of_what}"
    if photos:
        flag("photos", nargs="*", metavar="PHOTO", help=PHOTO_HELP)
        flag("--invert", action="store_true", help="swap light and dark in photos, as for ink on paper and mnist")
        text = f"without photos: {text}"
    else:
        parser.set_defaults(photos=(), invert=False)
    flag("--model", default="celeba64-conv", help=f"{MODEL_HELP} (default %(default)s)")
    flag("--out", type=Path, default=Path(out), help=f"{OUT_HELP} (default %(default)s)")
    flag("--samples", type=whole(1, 1000), default=samples, metavar="N", help=f"{text} (default %(default)s)")
    if seed:
        flag("--seed", type=whole(0), default=0, help="of the draws; other --samples change the last ones (default 0)")
    return flag


def whole(least, most=2**32 - 1):
    """The argparse type of whole numbers in a range."""

    def whole_number(text):
        if not least <= (value := int(text)) <= most:
            raise argparse.ArgumentTypeError(f"{value} is not between {least} and {most}")
        return value

    return whole_number


def dataset(text):
    """The argparse type of datasets: the name of one, or the path of a folder of pictures."""
    if text in DATASETS:
        return text
    path = Path(os.path.expanduser(text.removeprefix("folder:"))).resolve()
    if not os.path.isdir(path) and not {"/", os.sep, ":"} & set(text):  # path.is_dir() may find the name too long
        raise argparse.ArgumentTypeError(f"{text!r} is no folder, and none of {', '.join(DATASETS)}")
    return f"folder:{path}"


def number(text):
    """The argparse type of numbers that are finite."""
    if not math.isfinite(value := float(text)):
        raise argparse.ArgumentTypeError(f"{text} is not finite")
    return value


# --- the configuration file of train ---


def file_arguments(path):
    """A configuration file, TOML or JSON, as a list of arguments. LabError for a file that is neither, an unknown key
    (near ones are named), or a value that the flag does not take."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_train_flags(parser)
    known = sorted(vars(parser.parse_args([])).keys() - {"config"})
    arguments = []
    for key, value in read_config(path).items():
        if key not in known:
            raise LabError(f"{path} has the unknown key {key!r}; known are, for example: {near_names(key, known)}.")
        flags = as_flags(key, value)
        try:
            parsed, rest = parser.parse_known_args(flags)
        except argparse.ArgumentError as error:
            raise LabError(f"{path}: {key} = {value!r} cannot be used: {error.message}.") from None
        if rest or (key != "data" and getattr(parsed, key) != value):  # of a folder, the path becomes absolute
            raise LabError(f"{path}: {key} = {value!r} is of the wrong type; `vae train --help` shows what it takes.")
        arguments += flags
    return arguments


def read_config(path):
    """The top level of a .toml or .json file as a dict; LabError if it is neither, or cannot be read."""
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
