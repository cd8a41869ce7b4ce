"""Do our losses on two views agree with those of another library, lightly, in values and gradients?

Needs lightly in an environment of its own, not of this project; prints JSON in seconds:

    PYTHONPATH=. python benchmarks/center_reference.py > center_reference.json

Compared in double precision on the same random tensors, some of them long, short or nearly constant: NT-Xent, negative
cosine, Barlow Twins, DINO over three updates of its center, SwAV, and Sinkhorn's iteration alone. ``factor`` and
``shift`` are the difference in convention: ours = factor * theirs + shift. Gradients are those of both views, compared
after the factor; a gap is relative to the largest entry of theirs.

Measured on 2026-11-30, lightly 1.6.0, torch 2.14.1: values, gradients and assignments within 4e-15, DINO's within 3e-8,
since theirs keeps the teacher's temperature in single precision (1e-15 at the same number). Conventions: SimSiam's
value is larger by 1 here; every factor is 1; Sinkhorn without iterations is here the softmax of each row, there
exponentials over their sum. Scores beyond about 700 epsilon overflow there; ours works in logarithms. This comparison
found an error of ours: rows had been scaled once before the first columns, which the published iteration does not do.
"""

import json
from collections.abc import Callable
from functools import partial
from importlib import metadata
from typing import Any

import torch
from torch import Tensor

from ssltheory import two_view_losses as ours

Loss = Callable[[Tensor, Tensor], Tensor]


def slopes(loss: Loss, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Value, and gradients of both views side by side."""
    x, y = x.clone().requires_grad_(), y.clone().requires_grad_()
    value = loss(x, y)
    return value.detach(), torch.cat(torch.autograd.grad(value, (x, y)))


def gap(mine: Tensor, other: Tensor) -> float:
    """Largest difference relative to the largest entry of the other; 0 where both vanish."""
    size = float(other.abs().max())
    return float((mine - other).abs().max()) / size if size else float(mine.abs().max())


def tensors(generator: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    """Pairs of views: plain, large, small, and close to one point."""
    found = []
    for samples, n, size, middle in ((64, 16, 1.0, 0.0), (8, 3, 30.0, 0.0), (33, 16, 0.01, 0.0), (64, 16, 0.1, 1.0)):
        base = torch.randn(samples, n, generator=generator, dtype=torch.float64)
        views = [base + 0.5 * torch.randn(base.shape, generator=generator, dtype=torch.float64) for _ in range(2)]
        found.append((size * views[0] + middle, size * views[1] + middle))
    return found


def compare(pairs: list[tuple[Tensor, Tensor]], mine: Loss, theirs: Loss, shift: float = 0.0) -> dict[str, float]:
    """Largest gaps in value and gradient over all pairs."""
    values, gradients = [], []
    for x, y in pairs:
        (a, g), (b, h) = slopes(mine, x, y), slopes(theirs, x, y)
        values.append(gap(a - shift, b))
        gradients.append(gap(g, h))
    return {"factor": 1.0, "shift": shift, "value": max(values), "gradient": max(gradients)}


def listed(loss: Any, teacher: list[Tensor], x: Tensor, y: Tensor) -> Tensor:
    """A loss that takes lists of views."""
    return loss(teacher, [x, y])


def dino(pairs: list[tuple[Tensor, Tensor]], sharp: float, *, single: bool) -> dict[str, float]:
    """Three losses in a row, in which the center moves."""
    from lightly.loss import DINOLoss

    values, gradients, centers = [], [], []
    for x, y in pairs:
        other = DINOLoss(output_dim=x.shape[1], teacher_temp=sharp).double()
        center = torch.zeros(1, x.shape[1], dtype=torch.float64)
        for turn in range(3):
            t1, t2 = ours.unit(x.roll(turn, 0)), ours.unit(y.roll(turn + 1, 1))
            targets: dict[str, Any] = {"target1": t1, "target2": t2, "center": center}
            warm = float(torch.tensor(sharp)) if single else sharp
            a, g = slopes(partial(ours.dino_loss, **targets, target_temperature=warm), x, y)
            b, h = slopes(partial(listed, other, [t1, t2]), x, y)
            center = 0.9 * center + 0.1 * (t1.mean(0, keepdim=True) + t2.mean(0, keepdim=True)) / 2
            values.append(gap(a, b))
            gradients.append(gap(g, h))
            centers.append(gap(center, other.center[0]))
    return {
        "factor": 1.0,
        "shift": 0.0,
        "value": max(values),
        "gradient": max(gradients),
        "center": max(centers),
    }


def main() -> None:
    """Compare and print."""
    from lightly.loss import BarlowTwinsLoss, NegativeCosineSimilarity, NTXentLoss, SwaVLoss
    from lightly.loss.swav_loss import sinkhorn

    pairs = tensors(torch.Generator().manual_seed(0))
    scores = [(ours.unit(x), ours.unit(y)) for x, y in pairs]
    cosine = NegativeCosineSimilarity()
    report: dict[str, Any] = {"versions": {p: metadata.version(p) for p in ("lightly", "torch")}}
    for tau in (0.1, 0.5):
        mine, theirs = lambda x, y, tau=tau: ours.info_nce_loss(x, y, tau), NTXentLoss(temperature=tau)
        report[f"NT-Xent, temperature {tau}"] = compare(pairs, mine, theirs)
    report["negative cosine"] = compare(
        pairs,
        lambda x, y: ours.simsiam_loss(x**3, y**3, x, y),
        lambda x, y: (cosine(x**3, y.detach()) + cosine(y**3, x.detach())) / 2,
        shift=1.0,
    )
    for w in (0.005, 0.05):
        mine, theirs = lambda x, y, w=w: ours.barlow_twins_loss(x, y, weight=w), BarlowTwinsLoss(lambda_param=w)
        report[f"Barlow Twins, weight {w}"] = compare(pairs, mine, theirs)
    for sharp in (0.04, 0.1):
        report[f"DINO, teacher's temperature {sharp}"] = dino(pairs, sharp, single=False)
        report[f"DINO, teacher's temperature {sharp} in single precision"] = dino(pairs, sharp, single=True)
    for turns in (0, 1, 3, 20):
        assigned = [gap(ours.sinkhorn(x, iterations=turns), sinkhorn(x, iterations=turns)) for x, _ in scores]
        # Without iterations theirs divides by the sum over the batch, ours by each row's, which is the softmax.
        theirs_scaled = [sinkhorn(x, iterations=turns) for x, _ in scores]
        rows = [
            gap(ours.sinkhorn(x, iterations=turns), q / q.sum(dim=1, keepdim=True))
            for (x, _), q in zip(scores, theirs_scaled, strict=True)
        ]
        report[f"Sinkhorn, {turns} iterations"] = {"value": max(assigned), "after scaling rows": max(rows)}
    report["SwAV"] = compare(
        scores,
        lambda x, y: ours.swav_loss(x, y, ours.sinkhorn(x), ours.sinkhorn(y)),
        lambda x, y: SwaVLoss()([x, y], []),
    )
    far = 40 * torch.eye(4, dtype=torch.float64)
    report["Sinkhorn of scores 40, all finite"] = {
        "ours": bool(ours.sinkhorn(far).isfinite().all()),
        "theirs": bool(sinkhorn(far).isfinite().all()),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
