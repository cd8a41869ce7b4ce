r"""The losses of self-supervised methods on two views, written plainly.

Codes are rows: the codes z_1, z_2 of the two views of B samples have shape (..., B, n), and every loss has shape (...),
one value for each leading index, so that many seeds are trained at once. A gradient flows into all arguments except
those named targets, which the function detaches. Cosines are those of :func:`unit`, whatever the length of a code.

    invariance      1 - <z_1, z_2>
    triplet         max(0, |z_1 - z_2|^2 - |z_1 - z^-|^2 + margin)
    InfoNCE         -log exp(<z_1, z_2>/tau) / sum_{j != 1} exp(<z_1, z_j>/tau), over all 2 B codes
    SimSiam         1 - (<h(z_1), SG z_2> + <h(z_2), SG z_1>) / 2
    BYOL            2 - 2 <h(z_1), SG t_2>, and the same with the views exchanged
    DINO            -sum_k softmax((t_2 - c)/tau_t)_k log softmax(s_1/tau_s)_k, and exchanged
    SwAV            -sum_k q_2k log softmax(s_1/tau)_k, and exchanged, q from Sinkhorn's iteration
    Barlow Twins    sum_k (1 - C_kk)^2 + w sum_{k != l} C_kl^2, C the cross-correlation of the views
    L_Simple        (1 - <z_1, z_2> + lambda_L |s|^p) / 2, s the mean of all codes, p = 1 or 2
"""

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from ssltheory import _validate

__all__ = [
    "Standardise",
    "barlow_twins_loss",
    "byol_loss",
    "cross_correlation",
    "dino_loss",
    "info_nce_loss",
    "invariance_loss",
    "simple_loss",
    "simsiam_loss",
    "sinkhorn",
    "swav_loss",
    "triplet_loss",
    "unit",
]

Standardise = Literal["both", "centre", "scale", "none"]


def unit(z: Float[Tensor, "*batch B n"]) -> Float[Tensor, "*batch B n"]:
    """Codes divided by their lengths; a code shorter than 1e-12 is divided by 1e-12."""
    # Several times as fast as torch.nn.functional.normalize where features are not side by side in memory.
    return z * z.square().sum(dim=-1, keepdim=True).clamp_min(1e-24).rsqrt()


def invariance_loss(z1: Float[Tensor, "*batch B n"], z2: Float[Tensor, "*batch B n"]) -> Float[Tensor, "*batch"]:
    r"""Mean over the samples of :math:`1 - \langle z_1, z_2 \rangle`, half the squared distance of unit vectors.

    Both branches are differentiated. Raises ``ValueError`` for shapes that differ or are not (..., B, n).
    """
    _pair(z1, z2)
    return 1 - _cosine(z1, z2)


def triplet_loss(
    z1: Float[Tensor, "*batch B n"],
    z2: Float[Tensor, "*batch B n"],
    negative: Float[Tensor, "*batch B n"],
    margin: float = 1.0,
) -> Float[Tensor, "*batch"]:
    r"""Mean over the samples of :math:`\max(0, |z_1 - z_2|^2 - |z_1 - z^-|^2 + \text{margin})`, of unit vectors.

    While no sample's term is cut at zero the loss is linear in cosines. Raises ``ValueError`` for shapes that differ.
    Source: Schroff, Kalenichenko, Philbin (2015).
    """
    _pair(z1, z2)
    _pair(z1, negative)
    u1, u2, v = unit(z1), unit(z2), unit(negative)
    gap = (u1 - u2).square().sum(dim=-1) - (u1 - v).square().sum(dim=-1) + margin
    return gap.clamp_min(0).mean(dim=-1)


def info_nce_loss(
    z1: Float[Tensor, "*batch B n"], z2: Float[Tensor, "*batch B n"], temperature: float = 0.5
) -> Float[Tensor, "*batch"]:
    r"""NT-Xent, the InfoNCE loss of SimCLR: every code must find its partner among the other 2 B - 1.

    .. math:: \frac{1}{2B} \sum_{i=1}^{2B} -\log
              \frac{\exp(\langle z_i, z_{i'} \rangle / \tau)}{\sum_{j \ne i} \exp(\langle z_i, z_j \rangle / \tau)}

    with i' the other view of the sample of i. Raises ``ValueError`` for shapes that differ, or a temperature that is
    not positive. Source: Chen, Kornblith, Norouzi, Hinton (2020), equation (1).
    """
    _pair(z1, z2)
    temperature = _validate.scalar("temperature", temperature, _validate.positive)
    z = unit(torch.cat([z1, z2], dim=-2))
    scores = z @ z.mT / temperature
    itself = torch.eye(scores.shape[-1], dtype=torch.bool, device=z.device)
    partner = (unit(z1) * unit(z2)).sum(dim=-1).mean(dim=-1) / temperature
    return scores.masked_fill(itself, -torch.inf).logsumexp(dim=-1).mean(dim=-1) - partner


def simsiam_loss(
    prediction1: Float[Tensor, "*batch B n"],
    prediction2: Float[Tensor, "*batch B n"],
    target1: Float[Tensor, "*batch B n"],
    target2: Float[Tensor, "*batch B n"],
    *,
    stop_gradient: bool = True,
) -> Float[Tensor, "*batch"]:
    r"""Negative cosine between predictions and held targets, both ways, plus one.

    .. math:: 1 - \tfrac12 \bigl(\langle h(z_1), \operatorname{SG} z_2\rangle
              + \langle h(z_2), \operatorname{SG} z_1\rangle\bigr)

    One more than the published loss, so that its least value is 0. ``stop_gradient`` False differentiates the targets
    too. Raises ``ValueError`` for shapes that differ. Source: Chen and He (2021), equations (1) to (4).
    """
    _pair(prediction1, target2)
    _pair(prediction2, target1)
    if stop_gradient:
        target1, target2 = target1.detach(), target2.detach()
    return 1 - (_cosine(prediction1, target2) + _cosine(prediction2, target1)) / 2


def byol_loss(
    prediction1: Float[Tensor, "*batch B n"],
    prediction2: Float[Tensor, "*batch B n"],
    target1: Float[Tensor, "*batch B n"],
    target2: Float[Tensor, "*batch B n"],
) -> Float[Tensor, "*batch"]:
    r"""Squared distances between predictions and targets, both scaled to length one, both ways.

    .. math:: (2 - 2 \langle h(z_1), t_2 \rangle) + (2 - 2 \langle h(z_2), t_1 \rangle)

    The targets t are codes of the other view under the moving average of the encoder. It is 4 times
    :func:`simsiam_loss`. Raises ``ValueError`` for shapes that differ. Source: Grill et al. (2020), equation (2).
    """
    return 4 * simsiam_loss(prediction1, prediction2, target1, target2)


def dino_loss(
    student1: Float[Tensor, "*batch B K"],
    student2: Float[Tensor, "*batch B K"],
    target1: Float[Tensor, "*batch B K"],
    target2: Float[Tensor, "*batch B K"],
    center: Float[Tensor, "*batch 1 K"] | float = 0.0,
    *,
    temperature: float = 0.1,
    target_temperature: float = 0.04,
) -> Float[Tensor, "*batch"]:
    r"""Cross-entropy from the teacher's centred and sharpened distribution to the student's, averaged over both ways.

    .. math:: \tfrac12 \sum_{(a, b)} -\sum_k \operatorname{softmax}\bigl((t_b - c)/\tau_t\bigr)_k
              \log \operatorname{softmax}(s_a/\tau_s)_k, \qquad (a, b) \in \{(1, 2), (2, 1)\}

    s and t are scores of K prototypes; c is a moving average of the teacher's scores. Raises ``ValueError`` for shapes
    that differ or temperatures that are not positive. Source: Caron et al. (2021), equation (3) and algorithm 1.
    """
    _pair(student1, target2)
    _pair(student2, target1)
    temperature = _validate.scalar("temperature", temperature, _validate.positive)
    target_temperature = _validate.scalar("target_temperature", target_temperature, _validate.positive)
    goal1, goal2 = (((t - center) / target_temperature).softmax(dim=-1).detach() for t in (target1, target2))
    return (_cross_entropy(goal2, student1 / temperature) + _cross_entropy(goal1, student2 / temperature)) / 2


def sinkhorn(
    scores: Float[Tensor, "*batch B K"], *, epsilon: float = 0.05, iterations: int = 3
) -> Float[Tensor, "*batch B K"]:
    r"""Codes q >= 0 with rows that sum to one and columns that nearly share the samples alike.

    .. math:: q \propto \operatorname{diag}(a) \exp(\text{scores}/\epsilon) \operatorname{diag}(b), \qquad
              q\, 1_K = 1_B, \quad q^\top 1_B \approx \tfrac{B}{K} 1_K

    Columns and rows are scaled in turn, columns first, ``iterations`` times; rows are exact, since they come last. No
    iteration gives the softmax of the scores. No gradient flows. Raises ``ValueError`` for a negative number of
    iterations or an ``epsilon`` that is not positive. Source: Caron et al. (2020), section 3.1; Cuturi (2013).
    """
    epsilon = _validate.scalar("epsilon", epsilon, _validate.positive)
    iterations = _validate.count("iterations", iterations, least=0)
    # In logarithms: exponentials of scores over 0.05 would leave the range of single precision.
    q = scores.detach() / epsilon
    if not iterations:
        return q.softmax(dim=-1)
    for _ in range(iterations):
        q = (q - q.logsumexp(dim=-2, keepdim=True)).log_softmax(dim=-1)
    return q.exp()


def swav_loss(
    scores1: Float[Tensor, "*batch B K"],
    scores2: Float[Tensor, "*batch B K"],
    target1: Float[Tensor, "*batch B K"],
    target2: Float[Tensor, "*batch B K"],
    *,
    temperature: float = 0.1,
) -> Float[Tensor, "*batch"]:
    r"""Swapped prediction: the scores of one view foretell the assignment of the other; the mean over samples.

    .. math:: -\tfrac12 \sum_k \bigl(q_{2k} \log p_{1k} + q_{1k} \log p_{2k}\bigr)

    p is the softmax over prototypes of ``scores`` / ``temperature``; the targets q are assignments of samples to
    prototypes, from :func:`sinkhorn`. Half the published sum. Raises ``ValueError`` for shapes that differ or a
    temperature that is not positive. Source: Caron et al. (2020), equations (1) and (2).
    """
    _pair(scores1, target2)
    _pair(scores2, target1)
    temperature = _validate.scalar("temperature", temperature, _validate.positive)
    forth = _cross_entropy(target2.detach(), scores1 / temperature)
    return (forth + _cross_entropy(target1.detach(), scores2 / temperature)) / 2


def cross_correlation(
    z1: Float[Tensor, "*batch B n"], z2: Float[Tensor, "*batch B n"], standardise: Standardise = "both"
) -> Float[Tensor, "*batch n n"]:
    r"""Cross-correlation of features standardised over the batch.

    .. math:: C_{kl} = \frac1B \sum_b \tilde z_{1,bk}\, \tilde z_{2,bl}

    ``standardise`` says how: subtract each feature's mean and divide by its standard deviation ("both"), only subtract
    ("centre"), only divide by the root mean square ("scale"), or neither ("none"). Divisors have 1e-5 added under the
    root, as batch norm has. Raises ``ValueError`` for shapes that differ or another word.
    """
    _pair(z1, z2)
    _validate.one_of("standardise", standardise, get_args(Standardise))
    views = []
    for z in (z1, z2):
        z = z - z.mean(dim=-2, keepdim=True) if standardise in ("both", "centre") else z
        if standardise in ("both", "scale"):
            z = z / (z.square().mean(dim=-2, keepdim=True) + 1e-5).sqrt()
        views.append(z)
    return views[0].mT @ views[1] / z1.shape[-2]


def barlow_twins_loss(
    z1: Float[Tensor, "*batch B n"],
    z2: Float[Tensor, "*batch B n"],
    *,
    weight: float = 0.005,
    standardise: Standardise = "both",
) -> Float[Tensor, "*batch"]:
    r"""Distance of the views' cross-correlation from the identity.

    .. math:: \sum_k (1 - C_{kk})^2 + w \sum_{k \ne l} C_{kl}^2

    The second sum decorrelates the features; ``weight`` 0 leaves it out. C is :func:`cross_correlation`; the published
    method standardises. Raises ``ValueError`` as it does, or for a negative weight. Source: Zbontar et al. (2021),
    equations (1) and (2).
    """
    weight = _validate.scalar("weight", weight, _validate.nonnegative)
    C = cross_correlation(z1, z2, standardise)
    diagonal = C.diagonal(dim1=-2, dim2=-1)
    total = C.square().sum(dim=(-2, -1)) - diagonal.square().sum(dim=-1)
    return (1 - diagonal).square().sum(dim=-1) + weight * total


def simple_loss(
    z1: Float[Tensor, "*batch B n"],
    z2: Float[Tensor, "*batch B n"],
    weight: float = 1.0,
    *,
    power: int = 1,
    unbiased: bool = False,
    second: float = 0.0,
) -> Float[Tensor, "*batch"]:
    r"""L_Simple: invariance with a penalty on the center vector.

    .. math:: \tfrac12 \bigl(1 - \langle z_1, z_2\rangle + \lambda_L |s|^p\bigr)

    s is the mean of all 2 B unit codes, ``weight`` is :math:`\lambda_L` and ``power`` p. Both branches are
    differentiated, the mean included; where s = 0 its length contributes no gradient. The source maximises a similarity
    and writes its penalty with a minus sign; it is not said there whether the length or its square is meant, so both
    are here. Two changes are ours: ``unbiased`` takes for :math:`|s|^2` the mean of :math:`\langle z, z^-\rangle` over
    codes of different samples only, and ``second`` adds, within the brackets, that multiple of the mean of
    :math:`\langle z, z^-\rangle^2` over them. Raises ``ValueError`` for shapes that differ, a negative weight, another
    power, or either change with one sample or (``unbiased``) power 1.
    Source: Jha, Blaschko, Asano, Tuytelaars (2024).
    """
    _pair(z1, z2)
    weight = _validate.scalar("weight", weight, _validate.nonnegative)
    second = _validate.scalar("second", second, _validate.nonnegative)
    if power not in (1, 2):
        raise ValueError(f"power must be 1 or 2; got {power!r}")
    samples = z1.shape[-2]
    if (unbiased and power == 1) or ((unbiased or second) and samples < 2):
        raise ValueError(f"unbiased needs power 2, and it and second two samples; got power {power}, {samples} samples")
    u1, u2 = unit(z1), unit(z2)
    cosine = (u1 * u2).sum(dim=-1)
    s = (u1.mean(dim=-2) + u2.mean(dim=-2)) / 2
    if power == 1:
        size = torch.linalg.vector_norm(s, dim=-1)
    else:
        size = s.square().sum(dim=-1)
        if unbiased:
            size = (samples * size - (1 + cosine).mean(dim=-1) / 2) / (samples - 1)
    value = 1 - cosine.mean(dim=-1) + weight * size
    if second:
        moment = u1.mT @ u1 + u2.mT @ u2
        every = moment.square().sum(dim=(-2, -1)) - 2 * (1 + cosine.square()).sum(dim=-1)
        value = value + second * every / (4 * samples * (samples - 1))
    return value / 2


def _cosine(z1: Tensor, z2: Tensor) -> Tensor:
    return (unit(z1) * unit(z2)).sum(dim=-1).mean(dim=-1)


def _cross_entropy(goal: Tensor, scores: Tensor) -> Tensor:
    return -(goal * scores.log_softmax(dim=-1)).sum(dim=-1).mean(dim=-1)


def _pair(first: Tensor, second: Tensor) -> None:
    if first.ndim < 2 or first.shape != second.shape or not first.numel():
        raise ValueError(f"need two tensors of one shape (..., B, n); got {tuple(first.shape)}, {tuple(second.shape)}")
