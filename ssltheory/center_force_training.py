"""The force on the center in networks, along training: what free codes would do, and what the network does.

    python -m ssltheory.center_force_training record    # writes book/data/center_forces.json, about three minutes

At some steps of a training of :mod:`ssltheory.center_training` two rates at which |s| changes are computed, for the
method's loss and for the invariance loss at the same codes: that of codes which each go down their own gradient on the
sphere, and that of the network's parameters going down theirs. Only the second knows that all codes share parameters.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ssltheory.center import center_rate
from ssltheory.center_forces import tangent
from ssltheory.center_record import read_table
from ssltheory.center_training import ROWS, SEEDS, WIDTHS, Config, State, method_loss, train
from ssltheory.encoders import Data, digit_data, encode, toy_data
from ssltheory.records import progress, read_record, unwritable, write_record
from ssltheory.two_view_losses import invariance_loss, unit

__all__ = ["FORCES", "Forces", "measure_forces", "read_forces"]

STEPS = (0, 10, 50, 400)
PAIRS = 256
SOURCES = ("blobs", "digits")

FORCES = ("length", "free", "free_invariance", "repulsion", "network", "network_invariance")
"""What is measured, see :class:`Forces`."""

CHOSEN: tuple[tuple[str, bool], ...] = (
    ("invariance", True),
    ("triplet", True),
    ("SimCLR", True),
    ("SimSiam", True),
    ("SimSiam", False),
    ("SimSiam, no predictor", True),
    ("BYOL 0.99", True),
    ("BYOL 0.99", False),
    ("BYOL 0.999, no predictor", True),
    ("DINO", True),
    ("DINO, no centring", True),
    ("DINO, no sharpening", True),
    ("SwAV", True),
    ("SwAV, fixed prototypes", True),
    ("SwAV, no Sinkhorn", True),
    ("Barlow Twins, batch norm", True),
    ("Barlow Twins, scaled", True),
    ("L_Simple 1", True),
)


@dataclass(frozen=True)
class Forces:
    """Rates at which |s| changes per unit of time of a gradient flow, an entry for each step and seed, or each model.

    Attributes:
        length: |s| of the 2 N unit codes of N pairs, as they are.
        free: d|s|/dt of free codes under the loss, :func:`ssltheory.center.center_rate`; codes keep their lengths.
        free_invariance: the same under the invariance loss.
        repulsion: the same if each code were pushed by -s, which is never positive.
        network: d|s|/dt when encoder and head go down the gradient of the loss.
        network_invariance: the same under the invariance loss.
    """

    length: Float[np.ndarray, "..."]
    free: Float[np.ndarray, "..."]
    free_invariance: Float[np.ndarray, "..."]
    repulsion: Float[np.ndarray, "..."]
    network: Float[np.ndarray, "..."]
    network_invariance: Float[np.ndarray, "..."]


def measure_forces(config: Config, state: State, x: Tensor, y: Tensor) -> Forces:
    """Measure the rates for every model on pairs of views (models or 1, N, ...).

    Batch norm takes its statistics from these pairs. Raises ``ValueError`` for views whose shapes differ.
    """
    if x.shape != y.shape:
        raise ValueError(f"x and y have shapes {tuple(x.shape)} and {tuple(y.shape)}; need the same")
    found: dict[str, np.ndarray] = {}
    layers = [tuple(p.detach().clone().requires_grad_() for p in layer) for layer in state.encoder]
    parameters = [p for layer in layers for p in layer]
    moving = replace(state, encoder=layers)  # type: ignore[arg-type]
    z1, z2 = (encode(moving.encoder, v, norm=config.norm).mT for v in (x, y))
    length = _center(z1, z2).norm(dim=-1)
    losses = {"network": method_loss(config, moving, x, y)[0], "network_invariance": invariance_loss(z1, z2)}
    outward = _slopes(length, parameters)
    for name, loss in losses.items():
        rates = [_each(a * b) for a, b in zip(outward, _slopes(loss, parameters), strict=True)]
        found[name] = -_array(torch.stack(rates).sum(dim=0))
    # Codes as inputs: an encoder that hands on the first half of what it is given, a teacher the second half.
    with torch.no_grad():
        t1, t2 = (encode(state.teacher[0], v, norm=config.norm).mT for v in (x, y))
    models, n = z1.shape[0], z1.shape[-1]
    eye, zero, shift = torch.eye(n).to(z1), torch.zeros(n, n).to(z1), torch.zeros(models, n).to(z1)
    first, second = ([(torch.cat(part, dim=1).repeat(models, 1, 1), shift)] for part in ((eye, zero), (zero, eye)))
    direct = replace(state, encoder=first, teacher=(second, state.teacher[1]))
    free1, free2 = (z.detach().requires_grad_() for z in (z1, z2))
    given = (torch.cat([free1, t1], dim=-1), torch.cat([free2, t2], dim=-1))
    for name, loss in {
        "free": method_loss(config, direct, *given)[0],
        "free_invariance": invariance_loss(free1, free2),
        "repulsion": _center(free1, free2).square().sum(dim=-1) / 2,
    }.items():
        found[name] = _rate(free1, free2, torch.autograd.grad(loss.sum(), (free1, free2)))
    return Forces(length=_array(length), **found)


def read_forces(data: Mapping[str, Any]) -> dict[tuple[str, str, bool], Forces]:
    """Read a record's data back: by row, data set and batch norm, with arrays (T, S). ``ValueError`` for other data."""
    if not isinstance(data, Mapping) or {"steps", "seeds", "runs"} - data.keys():
        raise ValueError("data: need the keys 'steps', 'seeds' and 'runs' of recorded forces")
    return {
        (e["row"], e["data"], e["norm"]): Forces(
            **{k: np.array([r.split() for r in e[k]], dtype=float) for k in FORCES}
        )
        for e in data["runs"]
    }


def _center(z1: Tensor, z2: Tensor) -> Tensor:
    return (unit(z1).mean(dim=-2) + unit(z2).mean(dim=-2)) / 2


def _slopes(value: Tensor, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(value.sum(), inputs, retain_graph=True, allow_unused=True, materialize_grads=True)


def _each(values: Tensor) -> Tensor:
    return values.flatten(1).sum(dim=1)


def _rate(z1: Tensor, z2: Tensor, slopes: Sequence[Tensor]) -> np.ndarray:
    codes, gradient = (np.concatenate([_array(v) for v in pair], axis=-2) for pair in ((z1, z2), slopes))
    z = codes / np.linalg.norm(codes, axis=-1, keepdims=True)
    # Losses see no lengths: the gradient in the code of length one is that in the code, times its length.
    return center_rate(z, np.linalg.norm(codes, axis=-1, keepdims=True) * tangent(z, gradient))


def _array(values: Tensor) -> np.ndarray:
    return values.detach().double().cpu().numpy()


def _course(row: str, source: str, norm: bool, rate: float, data: Data) -> dict[str, Any]:
    config = Config(**ROWS[row], encoder=WIDTHS[source], norm=norm)
    found = []
    for step in STEPS:  # each from the start: a run of 400 steps takes two seconds
        state = train(config, data, SEEDS, rates=(rate,), record_at=(step,)).state
        found.append(measure_forces(config, state, data.x[:, :PAIRS], data.y[:, :PAIRS]))
    words = {k: [" ".join(f"{v:.4e}" for v in getattr(f, k)) for f in found] for k in FORCES}
    return {"row": row, "data": source, "norm": norm, "rate": rate, **words}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the forces along training for the rows of :data:`CHOSEN` and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    record = commands.add_parser("record", help="train at each row's best recorded rate and measure")
    record.add_argument("--out", type=Path, default=Path("book/data/center_forces.json"))
    out = parser.parse_args(arguments).out
    if problem := unwritable(out):
        parser.error(f"--out: {problem}")
    torch.set_num_threads(1)
    start, table = time.perf_counter(), read_table(read_record("center_table").data)
    data = {
        name: digit_data(SEEDS) if name == "digits" else toy_data(name, SEEDS)  # type: ignore[arg-type]
        for name in SOURCES
    }
    jobs = [(row, source, norm) for source in SOURCES for row, norm in CHOSEN]
    runs = []
    for row, source, norm in progress(jobs, "runs"):
        rate = float(table.rates[table.row(row, source, norm).best])
        runs.append(_course(row, source, norm, rate, data[source]))
    made = {"steps": list(STEPS), "seeds": list(SEEDS), "pairs": PAIRS, "runs": runs}
    words = "python -m ssltheory.center_force_training record"
    write_record(out, made, command=words, seconds=time.perf_counter() - start, packages=("numpy", "torch"))


if __name__ == "__main__":
    main()
