"""Train, go on, probe, and draw.

    python -m ssltheory.vjepa train --teacher ema --preset cpu --out runs/ema
    python -m ssltheory.vjepa resume runs/ema
    python -m ssltheory.vjepa probe runs/ema
    python -m ssltheory.vjepa plot runs/ema runs/sg runs/joint --out figure2.png
    torchrun --nproc-per-node 4 -m ssltheory.vjepa train --teacher ema --preset gpu --out runs/big

The log, ``metrics.jsonl`` in the run's folder, can be read while the run goes on: one line of JSON a logged step.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args

import torch
import torch.distributed as dist

from ssltheory.vjepa.checkpoints import CheckpointError, read_checkpoint
from ssltheory.vjepa.model import Encoder, ModelConfig, patches
from ssltheory.vjepa.probes import attentive_probe, features_of, pixel_probe
from ssltheory.vjepa.training import Teacher, TrainConfig, Trainer
from ssltheory.vjepa.videos import MOTIONS, DigitVideos, split_digits

PRESETS = {
    "smoke": TrainConfig(steps=60, batch=16, log_every=5, watch_every=10, save_every=20, frozen=16),
    "cpu": TrainConfig(steps=2000),
    "gpu": TrainConfig(
        model=ModelConfig(16, 64, 1, 2, 8, 384, 12, 6, 192, 6), steps=20_000, batch=256, dtype="bfloat16", compile=True,
        rate=6e-4, log_every=20, watch_every=200, save_every=1000, frozen=256,
    ),
}  # fmt: skip
"""Sizes for a minute on any machine, for an hour on two cores, and for a GPU (an encoder of the size of ViT-S)."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says; what cannot be done is said in one line, with exit status 2 or 1."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        {"train": _train, "resume": _resume, "probe": _probe, "plot": _plot}[options.command](options)
    except FloatingPointError as problem:
        sys.exit(f"stopped: {problem}")
    except CheckpointError as problem:
        sys.exit(f"cannot go on: {problem}")
    except ValueError as problem:
        parser.error(str(problem))


def _train(options: argparse.Namespace) -> None:
    config = _configured(options)
    if (options.out / "last.ckpt").exists() or (options.out / "metrics.jsonl").exists():
        raise ValueError(f"--out: {options.out} holds a run already; resume it, or name another folder")
    _carry_out(config, options, fresh=True)


def _resume(options: argparse.Namespace) -> None:
    config = _read_config(options.run / "last.ckpt")
    options.out = options.run
    _carry_out(config, options, fresh=False)


def _carry_out(config: TrainConfig, options: argparse.Namespace, *, fresh: bool) -> None:
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    device = torch.device(options.device)
    if world > 1:
        if device.type == "cuda":
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        trainer = Trainer(config, _source(config, device), options.out, device=device, rank=rank, world=world)
        if not fresh:
            trainer.load()
        reason = trainer.run(options.stop_at, quiet=options.quiet)
        if rank == 0:
            print(f"{reason}; the log is {trainer.metrics}")
    finally:
        if world > 1:
            dist.destroy_process_group()


def _source(config: TrainConfig, device: torch.device, *, test: bool = False) -> DigitVideos:
    m = config.model
    return DigitVideos(split_digits()[test], frames=m.frames, side=m.side, channels=m.channels, device=device)


def _configured(options: argparse.Namespace) -> TrainConfig:
    config = PRESETS[options.preset]
    given = {k: v for k, v in vars(options).items() if v is not None}
    model = {f.name: given[f.name] for f in fields(ModelConfig) if f.name in given}
    own = {f.name: given[f.name] for f in fields(TrainConfig) if f.name in given and f.name != "model"}
    return replace(config, model=replace(config.model, **model), **own)


def _read_config(path: Path) -> TrainConfig:
    try:
        return TrainConfig.from_json(json.loads(read_checkpoint(path)["config"]))
    except KeyError:
        raise CheckpointError(f"{path} has no configuration") from None


def _probe(options: argparse.Namespace) -> None:
    """Print, as JSON, the accuracies of the attentive probe on trained, random and raw features, and on pixels."""
    state = read_checkpoint(options.run / "last.ckpt")
    config = TrainConfig.from_json(json.loads(state["config"]))
    device = torch.device(options.device)
    train, test = (
        _source(config, device, test=which).batch(config.seed + 10**6, step, count)
        for which, step, count in ((False, 0, options.clips), (True, 1, options.test_clips))
    )
    trained = Encoder(config.model).to(device)
    trained.load_state_dict(state["teacher"])
    torch.manual_seed(config.seed)
    start = Encoder(config.model).to(device)
    raw = [patches(c.video, config.model.tubelet, config.model.patch) for c in (train, test)]
    found: dict[str, Any] = {"run": options.run.name, "step": state["step"], "clips": options.clips, "labels": {}}
    for label, classes in (("digit", 10), ("motion", len(MOTIONS))):
        known, asked = getattr(train, label), getattr(test, label)
        row: dict[str, Any] = {"linear on pixels": round(pixel_probe(train, test, label), 4), "chance": 1 / classes}
        for name, features in (
            ("trained", [features_of(trained, c.video) for c in (train, test)]),
            ("random encoder", [features_of(start, c.video) for c in (train, test)]),
            ("attentive on patches", raw),
        ):
            reading = attentive_probe(
                features[0], known, features[1], asked, test.image.cpu().numpy(), classes=classes, steps=options.steps
            )
            row[name] = {"accuracy": round(reading.accuracy, 4), "interval": [round(v, 4) for v in reading.interval()]}
        found["labels"][label] = row
    print(json.dumps(found, indent=1))


def _plot(options: argparse.Namespace) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from ssltheory.vjepa.curves import draw_runs

    figure = draw_runs(options.runs)
    figure.savefig(options.out, dpi=150)
    print(f"drawn: {options.out}")


HELP = {
    "frames": "frames of a clip",
    "side": "edge of a frame in pixels",
    "channels": "colours of a clip",
    "tubelet": "frames in a token",
    "patch": "edge of a token in pixels",
    "width": "features of the encoder",
    "depth": "blocks of the encoder",
    "heads": "attention heads of both networks",
    "predictor_width": "features of the predictor",
    "predictor_depth": "blocks of the predictor",
    "embedding_std": "deviation of the patch embedding's first weights (default: 1/sqrt(inputs))",
    "steps": "gradient steps of the whole run",
    "batch": "clips in a step, over all processes",
    "rate": "largest learning rate",
    "last_rate": "learning rate at the end",
    "warmup": "share of the steps over which the rate rises",
    "decay": "weight decay at the beginning",
    "last_decay": "weight decay at the end",
    "alpha": "momentum of the moving average at the beginning",
    "last_alpha": "momentum at the end",
    "seed": "of weights, clips and masks",
    "log_every": "steps between lines of the log",
    "watch_every": "steps between measurements on the frozen batch",
    "save_every": "steps between checkpoints",
    "frozen": "clips of the frozen batch",
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ssltheory.vjepa", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser(
        "train",
        help="train a student and a teacher",
        description="A preset, and any number of options that override it; in brackets the values of the preset cpu.",
    )
    train.add_argument("--teacher", choices=get_args(Teacher), help="moving average (default), stop-gradient, joint")
    train.add_argument("--preset", choices=tuple(PRESETS), default="cpu", help="sizes and lengths (default cpu)")
    train.add_argument("--out", type=Path, required=True, help="folder for log and checkpoint; it must not hold a run")
    usual = {**vars(PRESETS["cpu"].model), **vars(PRESETS["cpu"])}
    for name, words in HELP.items():
        value = usual[name]
        kind, shown = (float, "") if value is None else (type(value), f" [{value:g}]")
        train.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="N", help=words + shown)
    train.add_argument("--dtype", choices=("float32", "bfloat16"), help="precision of products [float32]")
    train.add_argument("--compile", action=argparse.BooleanOptionalAction, default=None, help="compile the networks")
    resume = commands.add_parser("resume", help="go on from the last checkpoint of a run")
    resume.add_argument("run", type=Path, help="folder of the run")
    for command in (train, resume):
        command.add_argument("--stop-at", type=int, metavar="N", help="stop after this step, to be resumed")
        command.add_argument("--quiet", action="store_true", help="no progress on the terminal")
    probe = commands.add_parser("probe", help="read digit and motion from a run's frozen teacher, beside baselines")
    probe.add_argument("run", type=Path, help="folder of the run")
    probe.add_argument("--clips", type=int, default=400, help="labelled clips (default 400)")
    probe.add_argument("--test-clips", type=int, default=1000, help="clips to try on, of other images (default 1000)")
    probe.add_argument("--steps", type=int, default=300, help="steps of the attentive probe (default 300)")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for command in (train, resume, probe):
        command.add_argument("--device", default=device, help=f"where to work (here {device})")
    plot = commands.add_parser("plot", help="draw losses, increments and deviation of runs from their logs")
    plot.add_argument("runs", nargs="+", type=Path, help="folders of runs")
    plot.add_argument("--out", type=Path, default=Path("figure2.png"), help="the picture (default figure2.png)")
    return parser


if __name__ == "__main__":
    main()
