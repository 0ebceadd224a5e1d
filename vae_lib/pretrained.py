"""Shipped models: train a model, or load what was trained before, and keep what a run has made."""

import hashlib
import math
import sys
from dataclasses import asdict, replace
from functools import partial
from inspect import Parameter, signature
from pathlib import Path

import torch

from vae_lib import settings
from vae_lib.attributes import vectors_for_record
from vae_lib.checks import LabError, near_names
from vae_lib.classifier import (
    CONFIG,
    AttributeClassifier,
    accuracy,
    fit_classifier,
    independence_weights,
    reconstructions,
    with_reconstructions,
)
from vae_lib.data.dataset import as_images, image_datasets
from vae_lib.data.loading import say_once
from vae_lib.engine.device import keep_freed_memory, model_on_device, pixels_together, unwrapped
from vae_lib.engine.layers import faster
from vae_lib.evaluation import evaluate
from vae_lib.models import FCVAE, VAE, Autoencoder, ConvVAE
from vae_lib.priors import Flow, fit_prior
from vae_lib.storage.files import write_json
from vae_lib.storage.records import (
    check_finished,
    config_of,
    damaged,
    describe_run,
    difference,
    environment,
    read_record,
    record_of,
    summary,
)
from vae_lib.storage.weights import check_tensors, in_half, is_checkpoint, read_tensors, round_to_half, write_tensors
from vae_lib.training import TrainConfig, fit

FLOW_STEPS = 4_000
OURS = (Autoencoder, FCVAE, ConvVAE, AttributeClassifier, Flow)

# --- files ---


def pretrained_path(name):
    """Where the weights called `name` lie or would lie; a name that ends in .safetensors is a path itself."""
    return Path(name) if str(name).endswith(".safetensors") else settings.PRETRAINED_DIR / f"{name}.safetensors"


def record_path(name):
    """Where the record of the run `name` lies or would lie, if its weights are not kept."""
    return settings.PRETRAINED_DIR / f"{name}.json"


def build_model(config):
    """The model, untrained, whose `config` this is, of a class of vae_lib's or derived from a VAE in this process.

    LabError if it names an unknown class or argument, or a bad one.
    """
    kind = known_classes().get(str(config.get("class")))
    if kind is None:
        raise LabError(f"No model can be built from the configuration {config}: its class is not known here.")
    arguments = {key: value for key, value in config.items() if key != "class"}
    if kind not in OURS:  # its constructor may give some of them itself
        arguments = {name: arguments[name] for name in taken(kind, arguments)}
    try:
        return kind(**arguments)
    except LabError:
        raise
    except Exception as error:  # of anybody's constructor
        raise LabError(f"No model can be built from the configuration {config}: {error}.") from None


def known_classes():
    """{name: class}: vae_lib's, and those that somebody derived from a VAE, of each name the one that it stands for."""
    own = [kind for kind in derived(VAE) if kind not in OURS]
    own.sort(key=lambda kind: getattr(sys.modules.get(kind.__module__), kind.__name__, None) is kind)
    return {kind.__name__: kind for kind in (*own, *OURS)}


def derived(kind):
    """All classes that are derived from a class, the oldest first."""
    return [other for child in kind.__subclasses__() for other in (child, *derived(child))]


def taken(kind, arguments):
    """Which of the named arguments a class's constructor takes."""
    parameters = signature(kind).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    return [name for name in arguments if takes_any or name in parameters]


def load_pretrained(name):
    """The shipped model `name`, or that of a .safetensors file, and its record: -> (model in evaluation mode, record).

    Raises LabError for an unknown name (the known ones are listed) or a missing or damaged file.
    """
    path = pretrained_path(name)
    if path.parent == settings.PRETRAINED_DIR and not path.exists():
        known = sorted(file.stem for file in settings.PRETRAINED_DIR.glob("*.safetensors"))
        near = near_names(name, known)
        hint = f"; {settings.WITHOUT_CLONE}" if settings.WITHOUT_CLONE else ""
        raise LabError(f"There are no weights called {name!r} in {settings.PRETRAINED_DIR}; there are: {near}{hint}.")
    tensors, record = read_tensors(path)
    if is_checkpoint(tensors):
        raise LabError(f"{path} is the checkpoint of an unfinished run; the same call of fit goes on from it.")
    if "model" not in record:
        raise damaged(path, "its record describes no model")
    model = without_weights(record["model"], path)
    check_tensors(tensors, model.state_dict(), path)
    if "config" in record:
        check_finished(record, path)
    if type(model) in OURS:
        model.to_empty(device="cpu")
    else:  # it may have tensors that no file holds
        with torch.random.fork_rng(devices=[]):
            model = build_model(record["model"])
    model.load_state_dict(tensors)
    keep_freed_memory()
    return pixels_together(faster(model)).eval(), record


def without_weights(config, path):
    """The model, without memory for its weights, of which a file says that it holds it. LabError if it cannot be."""
    name = config.get("class")
    own = isinstance(name, str) and name.isidentifier() and name not in [kind.__name__ for kind in OURS]
    if own and name not in known_classes():
        raise LabError(f"{path} holds a model of the class {name}, which is not here; define it, then load again.")
    try:
        with torch.device("meta"):  # sizes only: a file that claims huge ones costs no memory
            return build_model(config)
    except LabError as error:
        if own:
            raise LabError(f"{path} was made by another class {name}; load it with that one ({error})") from None
        raise damaged(path, error) from None


def save_pretrained(name, model, record):
    """Write half-precision weights, the record in the header, to `pretrained_path(name)`. Returns the path.

    Raises LabError for what `load_pretrained` could not load again: a model that its config does not rebuild, or the
    record of another one. Outside the full profile also for the name of shipped weights, which that profile wrote.
    """
    path, model = pretrained_path(name), unwrapped(model)
    is_there = path.exists() and path.resolve().parent == settings.PRETRAINED_DIR.resolve()
    if is_there and not settings.PROFILE.writes_results and read_tensors(path)[1].get("profile") == "full":
        raise LabError(f"{path} holds shipped weights, which only the full profile replaces; give a name of your own.")
    check_loadable(model)
    write_tensors(path, in_half(model), record_of(model, record))
    return path


def check_loadable(model):
    """LabError unless `build_model` makes such a model, with these weights, from the model's `config`."""
    if why := hindrance(model, config_of(model)):
        raise LabError(
            f"This model could not be loaded again: {why}; keep it with "
            "safetensors.torch.save_file(model.state_dict(), ...), and build it with the code that made it."
        )


def hindrance(model, config):
    """Why `build_model(config)` makes another model than this one, in words; None if it does not."""
    kind, variable = type(model), (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    named = [name for name, parameter in signature(kind).parameters.items() if parameter.kind not in variable]
    if unsaid := [name for name in named if name not in config]:
        return f"its config does not say {unsaid[0]}, which {kind.__name__} takes (config[{unsaid[0]!r}] = ... says it)"
    try:
        with torch.device("meta"):
            again = build_model(config)
    except LabError as error:
        return str(error).rstrip(".")
    if (type(again).__module__, type(again).__qualname__) != (kind.__module__, kind.__qualname__):
        return f"its class is {kind.__qualname__}, and {config['class']} in its config stands for another"
    if config_of(again) != config:
        return f"{config['class']} of its config makes itself another config, {again.config}"
    ours, theirs = ({name: tuple(x.shape) for name, x in each.state_dict().items()} for each in (model, again))
    if more := ours.keys() - theirs.keys():
        return f"{config['class']} of its config has no {min(more)}"
    if more := theirs.keys() - ours.keys():
        return f"it has no {min(more)}, which {config['class']} of its config has"
    if other := [name for name in ours if ours[name] != theirs[name]]:
        return f"{other[0]} is {ours[other[0]]} here and {theirs[other[0]]} in {config['class']} of its config"
    if isinstance(model, VAE) and not decodes_alike(model, config):
        return f"{config['class']} of its config makes other pictures with these weights"
    return None


def decodes_alike(model, config):
    """Whether the model that `build_model(config)` makes reconstructs an image as this one does, with its weights."""
    with torch.random.fork_rng(devices=[]):
        again = build_model(config)
    again.load_state_dict(model.state_dict())
    image = torch.rand(1, *model.image_shape, generator=torch.Generator().manual_seed(0))
    trains, device = model.training, next(model.parameters()).device
    pictures = [one.eval().to(device).reconstruct(image.to(device)) for one in (model, again)]
    model.train(trains)
    return torch.allclose(*pictures, atol=1e-5, equal_nan=True)


# --- runs ---


def train_or_load(name, build, config, train, val, test=None, repeats=0, weights=True):
    """The model called `name`: loaded if its shipped weights fit, else trained as the profile allows.

    build: function without arguments that returns an untrained model; test: measured once, after training, and
    kept in the record as record["test"] = {"posterior_mean": [loss, reconstruction, kl], "one_sample": [...]}.
    repeats: train that many more models with the next seeds, to see how much chance is in a result; only their numbers
    are kept, as record["repeats"] = a list of {"seed", "history", "test"} (shipped records may hold more than asked;
    the quick profile makes one).
    weights=False: only the record is shipped, for comparisons that need no more; the model is None where it is read.
    lab: weights from data/pretrained are used if architecture and configuration are the same, whichever photographs are
    at hand; otherwise a short run on the spot, of a random part of the images where one epoch is too long, never saved.
    quick: always a very short run. full: the data must be the same, too; otherwise the whole run, resumed from its
    checkpoint if there is one, then written to data/pretrained; weights of another run there are an error and stay as
    they are.
    Returns (model in evaluation mode, record), and prints which of these happened. The full profile refuses a model
    that could not be loaded again before it trains it.
    """
    train, val, test = image_datasets(train=train, val=val, test=test)
    torch.manual_seed(config.seed)
    model = unwrapped(build())
    path = pretrained_path(name) if weights else record_path(name)
    run = describe_run(model, train, val, config)
    found = load_if_same(path, run, train, repeats, test is not None)
    if found is not None:
        print(f"{name}: loaded, trained on {summary(found[1])}")
        if difference(run, found[1]):
            say_once(f"It was not trained on what lies here: {train!r}.")
        return found
    config, some = affordable(name, config, train)
    checkpoint = settings.CHECKPOINT_DIR / f"{name}.safetensors" if ships_results(train) else None
    if checkpoint is not None and weights:
        check_loadable(model)  # before hours of training
    record = fit(model, some, val, config, checkpoint=checkpoint, name=name)
    if repeats := min(repeats, settings.PROFILE.repeats):
        record["repeats"] = [repeat_run(name, build, config, some, val, test, k) for k in range(1, repeats + 1)]
    if checkpoint is not None:
        finish_run(path, model, record, train, test, checkpoint)
    elif test is not None:
        record["test"] = test_losses(model, test, record)
    return model, record


def load_or_repeat(name, train, val):
    """The shipped model `name`, or, where profile or data do not allow it, its recipe repeated on these data.

    Architecture and configuration come from the shipped record; otherwise as train_or_load. -> (model, record).
    """
    _, record = load_pretrained(name)
    return train_or_load(name, partial(build_model, record["model"]), TrainConfig(**record["config"]), train, val)


def load_or_train_classifier(name, model, train, test, balance=None):
    """The attribute classifier called `name`: loaded if its shipped weights fit, else trained as the profile allows.

    It learns from the images of `train` and from their reconstructions by the VAE `model`, since it is to judge
    decoded pictures. balance: two attributes, made independent by weighting the images: a classifier that has seen
    glasses mostly on men takes glasses for a sign of a man. Profiles work as in `train_or_load`.
    -> (AttributeClassifier in evaluation mode, record); record["test"] = {"photographs", "reconstructions"}: the
    accuracies on `test`.
    """
    train, test = as_images(train, "train"), as_images(test, "test")
    torch.manual_seed(CONFIG.seed)
    classifier = AttributeClassifier(train.image_shape, train.target_names)
    run = describe_run(classifier, train, None, CONFIG)
    run["data"]["balance"] = None if balance is None else list(balance)
    found = load_if_same(pretrained_path(name), run, train)
    if found is not None:
        return found
    config, train = affordable(name, CONFIG, train, copies=2)
    run["config"], run["data"]["train"] = asdict(config), len(train)
    weights = torch.ones(len(train)) if balance is None else independence_weights(*map(train.attribute, balance))
    pictures = with_reconstructions(model, train)
    history = fit_classifier(classifier, pictures, weights.repeat(2), config, name)
    if ships_results(train):
        round_to_half(classifier)
    pictures = {"photographs": test, "reconstructions": reconstructions(model, test)}
    measured = {kind: accuracy(classifier, dataset) for kind, dataset in pictures.items()}
    record = {**run, "history": history, "test": measured, **environment()}
    if ships_results(train):
        save_pretrained(name, classifier, record)
    return classifier, record


def load_or_fit_prior(name, model, train, kind="flow"):
    """The prior of the model called `name`: a shipped flow, if the profile loads weights, else one fitted to the codes
    of `train`, with fewer steps than in the full profile, which writes a flow. -> as of `priors.fit_prior`.
    """
    train = as_images(train, "train")
    if kind != "flow":
        return fit_prior(model, train, kind)
    if settings.PROFILE.loads_weights and (flow := shipped_flow(name, model)):
        return flow
    images = settings.PROFILE.images_per_training
    steps = FLOW_STEPS if images is None else min(FLOW_STEPS, images // 20)
    flow = fit_prior(model, train, kind, steps=steps)
    if ships_results(train):
        round_to_half(flow)
        data = {"name": train.name, "source": train.source, "train": len(train)}
        record = {"model": flow.config, "of": digest(model), "data": data, **environment()}
        save_pretrained(flow_path(name), flow, record)
    return flow


def flow_path(name):
    """Where the flow of the model called `name` lies or would lie."""
    path = pretrained_path(name)
    return path.with_name(f"{path.stem}-flow.safetensors")


def shipped_flow(name, model):
    """The flow that lies beside the model called `name`; None if there is none, or not one of these weights (said)."""
    if not flow_path(name).exists():
        return None
    flow, record = load_pretrained(flow_path(name))
    if isinstance(flow, Flow) and flow.latent_dim == model.latent_dim and record.get("of") == digest(model):
        return flow
    print(f"{flow_path(name).stem} does not fit, since it is no flow of these weights")
    return None


def digest(model):
    """What tells the weights of a model from all others."""
    return hashlib.sha256(b"".join(x.cpu().numpy().tobytes() for x in model.state_dict().values())).hexdigest()[:16]


def finish_run(path, model, record, train, test, checkpoint):
    """Keep a trained model, or, at a path that ends in .json, its record alone; then the checkpoint is not needed.

    The weights are rounded to half precision, in place; LabError if they have diverged. The record gets the losses on
    `test`, if it is given, and the vectors of the attributes that the images of `train` have.
    """
    with_weights = path.suffix != ".json"
    if with_weights:
        round_to_half(model)
    if test is not None:
        record["test"] = test_losses(model, test, record)
    if with_weights:
        with model_on_device(model):
            record |= vectors_for_record(model, train)
        save_pretrained(path, model, record)
    else:
        write_json(path, record)
    checkpoint.unlink(missing_ok=True)


def test_losses(model, test, record):
    """{"posterior_mean": [loss, reconstruction, kl], "one_sample": [...]} of a trained model, per image."""
    beta, likelihood = record["config"]["beta"], record["config"]["likelihood"]
    with model_on_device(model):
        return {
            kind: list(evaluate(model, test, beta, likelihood, sample=kind == "one_sample"))
            for kind in ("posterior_mean", "one_sample")
        }


def repeat_run(name, build, config, train, val, test, k):
    """The same training with the seed that is higher by k: -> {"seed", "history", "test"}."""
    config = replace(config, seed=config.seed + k)
    torch.manual_seed(config.seed)
    model = unwrapped(build())
    record = fit(model, train, val, config, name=f"{name}, seed {config.seed}")
    measured = {} if test is None else {"test": test_losses(model, test, record)}
    return {"seed": config.seed, "history": record["history"], **measured}


def load_if_same(path, run, train, repeats=0, tested=False):
    """What lies at `path`, if the profile may load it and it is of this run, with so many repeats and, if asked for,
    test results: -> (model, record), model None for a record alone; otherwise None, after a line that says why.

    LabError where it would be overwritten.
    """
    if not (settings.PROFILE.loads_weights and path.exists()):
        return None
    model, record = (None, read_record(path)) if path.suffix == ".json" else load_pretrained(path)
    config = asdict(TrainConfig()) | record.get("config", {})  # fields that are newer than the record at their defaults
    any_images = not settings.PROFILE.writes_results and train.source != "drawn"
    other, repeated = difference(run, {**record, "config": config}, any_images), len(record.get("repeats", []))
    if other is None and repeated < repeats:
        other = f"{repeats} repeats are asked for and {repeated} are there"
    if other is None and tested and "test" not in record:
        other = "they were never tested"
    if other is None:
        return model, record
    if ships_results(train):
        raise LabError(f"{path} holds another run ({other}); rename or delete it, then train again.")
    print(f"{path.stem}: the shipped weights do not fit, since {other}")
    return None


def ships_results(train):
    """True if what is trained on these images is written to data/pretrained: only models of whole, real sets."""
    return settings.PROFILE.writes_results and train.source == "real"


def affordable(name, config, train, copies=1):
    """-> (configuration, images) of the training `name` within what the profile allows, which is printed: fewer epochs
    or, where one is too long, one of a random part of the images. copies: how often an epoch trains on each image.

    An image larger than 32x32 counts as several. A run that is cut short has no time for the warm-up that a large
    learning rate needs: it gets 1e-3 at most.
    """
    images = settings.PROFILE.images_per_training
    if images is None:
        return config, train
    cost = copies * max(1, math.prod(train.image_shape[1:]) / 32**2)
    n = max(1, int(images / cost))
    if n >= config.epochs * len(train):
        return config, train
    cut = []
    if n < len(train):
        cut.append(f"{n:,} of the {len(train):,} images, drawn at random")
        train = train.select(torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:n].sort().values)
    shorter = replace(config, epochs=n // len(train), lr=min(config.lr, 1e-3))
    if shorter.epochs < config.epochs:
        cut.append(f"{shorter.epochs} of {config.epochs} epochs")
    if shorter.lr < config.lr:
        cut.append(f"the learning rate {shorter.lr:g} instead of {config.lr:g}")
    print(f"{name}: training with {', '.join(cut)}: the {settings.PROFILE.name} profile allows no more")
    return shorter, train
