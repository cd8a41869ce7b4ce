r"""What one step of training under orthogonality constraints costs, in each form in which it can be computed.

Training the network f(x) = W_2^T phi(W_1 x) with frames as weights takes W - eta G back to the frames by the polar
factor (our source's (11), with the projection that it leaves open). For phi = identity the same step, and the source's
Euler step (12), can be computed from q = W_1^T W_2 alone. The forms differ in cost only, except for the Euler step,
which is another map. Each ``*_steps`` function checks its arguments once and then does nothing but the arithmetic.

Source: Esser, Mukherjee, Ghoshdastidar (arXiv 2309.02011), equations (9), (11), (12) and Figure 4. The step in the span
of q and Gamma q is ours.
"""

from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float

from ssltheory import _validate
from ssltheory._orthogonal import inverse_root, step_in_span, velocity
from ssltheory.orthogonal_flow import random_network
from ssltheory.stiefel import ROTATION, Tangent

__all__ = [
    "Activation",
    "Form",
    "activate",
    "count_products",
    "decay_factors",
    "euler_steps",
    "exact_steps",
    "network_steps",
    "products_per_step",
    "sampled_steps",
    "steps_to_end",
]

Form = Literal["euler", "exact", "network", "network, thin", "samples", "nonlinear samples"]
"""How a step is computed; :func:`products_per_step` says what each costs."""
Activation = Literal["linear", "tanh", "relu"]


def euler_steps(
    q: Float[np.ndarray, "*batch m n"],
    gamma: Float[np.ndarray, "*batch m"],
    step: Float[np.ndarray, "*batch"],
    count: int,
) -> Float[np.ndarray, "*batch m n"]:
    """Do ``count`` Euler steps of the Grassmann flow, q + step q', and return the last q. Source: equation (12).

    ``gamma`` holds the eigenvalues of the contrast matrix, and q is in its eigenvectors; problems may come in a batch,
    with a step for each or one for all. Raises ``ValueError`` for shapes that do not fit, ``step`` <= 0 or a negative
    ``count``.
    """
    q, gamma, step, count = _start(q, gamma, step, count)
    for _ in range(count):
        q = _euler(q, gamma, step)
    return q


def exact_steps(
    q: Float[np.ndarray, "*batch m n"],
    gamma: Float[np.ndarray, "*batch m"],
    step: Float[np.ndarray, "*batch"],
    count: int,
    *,
    tangent: Tangent | None = None,
) -> Float[np.ndarray, "*batch m n"]:
    r"""Do ``count`` steps of the network, of any width, exactly and from q alone; return the last q.

    .. math:: q^+ = U\, \bigl(I + M U^\top U\bigr)^{-1/2} c\, N_2^{-1/2}, \qquad U = [\,q,\ \Gamma q\,]

    The Gram matrix of the new W_1 is I + U M U^T, whose inverse root changes the 2n columns of U only, and the new
    W_1^T W_2 before projecting is U c. With L = q^T Gamma q, M has the blocks 0, -2 eta, -2 eta, 4 eta^2 (times I) and
    c those I, 4 eta^2 L - 4 eta for the whole gradient; other ones for the part that ``tangent`` keeps, as in
    :func:`ssltheory.stiefel.tangent_part`.

    The same step as :func:`ssltheory.orthogonal_flow.network_step`, with the same M and c, but that takes the root of
    an m x m matrix, and this one those of 2n x 2n ones, at 6 m n^2 products beside them. Arguments and errors as
    :func:`euler_steps`, and for an unknown ``tangent``. Ours.
    """
    q, gamma, step, count = _start(q, gamma, step, count)
    if tangent is not None:
        _validate.one_of("tangent", tangent, get_args(Tangent))
    rotation = None if tangent is None else ROTATION[tangent]
    for _ in range(count):
        q = _exact(q, gamma, step, rotation)
    return q


def network_steps(
    W1: Float[np.ndarray, "h m"],
    W2: Float[np.ndarray, "h n"],
    gamma: Float[np.ndarray, "m m"],
    step: float,
    count: int,
    *,
    thin: bool = True,
) -> tuple[Float[np.ndarray, "h m"], Float[np.ndarray, "h n"]]:
    r"""Do ``count`` steps W <- polar(W - step G) of the linear network on both weights, and return them.

    The gradients 2 W_2 q^T Gamma and 2 W_1 Gamma q come from the contrast matrix. Without ``thin`` the polar factor
    takes the inverse root of the m x m Gram matrix, at 2 h m^2 products; with it the root is I + U X U^T with
    U = [q, Gamma q], and no product costs more than 2 h m n. Both are the same step. Raises ``ValueError`` as
    :func:`euler_steps`, and for a width below m or n.
    """
    gamma = _validate.symmetric("gamma", _validate.shaped("gamma", gamma, ("m", "m")))
    W1, W2 = _weights(W1, W2, len(gamma))
    size = np.full((1, 1), _validate.scalar("step", step, _validate.positive))
    for _ in range(_validate.count("count", count, 0)):
        W1, W2 = _network(W1, W2, gamma, size, thin)
    return W1, W2


def sampled_steps(
    W1: Float[np.ndarray, "h m"],
    W2: Float[np.ndarray, "h n"],
    x: Float[np.ndarray, "N m"],
    positive: Float[np.ndarray, "N m"],
    negative: Float[np.ndarray, "N m"],
    step: float,
    count: int,
    *,
    activation: Activation = "linear",
) -> tuple[Float[np.ndarray, "h m"], Float[np.ndarray, "h n"]]:
    """Do ``count`` steps W <- polar(W - step G) of f(x) = W_2^T phi(W_1 x), with gradients from all triples.

    The loss is the mean of f(x).(f(x^-) - f(x^+)). A linear network needs x and x^- - x^+ only, another one each of the
    three views. Raises ``ValueError`` as :func:`euler_steps`, for views that do not fit or an unknown activation.
    Source: equations (1) and (11).
    """
    _validate.one_of("activation", activation, get_args(Activation))
    x = _validate.shaped("x", x, ("N", "m"))
    positive, negative = (
        _validate.shaped("positive", positive, x.shape),
        _validate.shaped("negative", negative, x.shape),
    )
    W1, W2 = _weights(W1, W2, x.shape[1])
    step, count = _validate.scalar("step", step, _validate.positive), _validate.count("count", count, 0)
    for _ in range(count):
        W1, W2 = _sampled(W1, W2, x, positive, negative, step, activation)
    return W1, W2


def products_per_step(form: Form, m: int, n: int, h: int = 0, samples: int = 0) -> int:
    """How many multiplications one step makes inside matrix products, exactly.

    - ``"euler"``: 4 m n^2
    - ``"exact"``: 6 m n^2 + 47 n^3, and roots of a 2n x 2n and an n x n matrix
    - ``"network, thin"``: h (6 m n + 7 n^2) + m^2 n + 4 m n^2 + 49 n^3, and the same roots
    - ``"network"``: h (3 m n + 2 m^2 + 2 n^2) + m^2 n + m^3 + n^3, and roots of an m x m and an n x n matrix
    - ``"samples"``: h N (4 m + 6 n) + h (2 m^2 + 2 n^2) + m^3 + n^3, and the same roots
    - ``"nonlinear samples"``: h N (6 m + 6 n), and the rest as ``"samples"``

    Products with diagonal matrices and what eigenvalue routines do inside are not counted. :func:`count_products`
    counts what the code does. Raises ``ValueError`` for counts below 1, or a width (or samples) that is needed and 0.
    """
    _validate.one_of("form", form, get_args(Form))
    m, n = _validate.count("m", m), _validate.count("n", n)
    h = _validate.count("h", h, 0 if form in ("euler", "exact") else max(m, n))
    samples = _validate.count("samples", samples, 1 if "samples" in form else 0)
    project = h * (2 * m * m + 2 * n * n) + m**3 + n**3
    return {
        "euler": 4 * m * n * n,
        "exact": 6 * m * n * n + 47 * n**3,
        "network, thin": h * (6 * m * n + 7 * n * n) + m * m * n + 4 * m * n * n + 49 * n**3,
        "network": h * 3 * m * n + m * m * n + project,
        "samples": h * samples * (4 * m + 6 * n) + project,
        "nonlinear samples": h * samples * (6 * m + 6 * n) + project,
    }[form]


def activate(pre: Float[np.ndarray, "..."], activation: Activation) -> Float[np.ndarray, "..."]:
    """Apply phi to each entry. Raises ``ValueError`` for an unknown one."""
    _validate.one_of("activation", activation, get_args(Activation))
    if activation == "linear":
        return pre
    return np.tanh(pre) if activation == "tanh" else np.maximum(pre, 0.0)


def steps_to_end(
    q: Float[np.ndarray, "m n"],
    gamma: Float[np.ndarray, " m"],
    step: float,
    form: Literal["exact", "euler"],
    *,
    tol: float = 1e-3,
    most: int = 600,
) -> int | None:
    """After how many steps q q^T is within ``tol`` of the projection on the n most negative eigenvectors, by entry.

    None if it is not after ``most`` steps, or if q has grown beyond all networks before. Raises ``ValueError`` as
    :func:`euler_steps`, and for another form.
    """
    _validate.one_of("form", form, ("exact", "euler"))
    move = exact_steps if form == "exact" else euler_steps
    q = move(q, gamma, np.asarray(step), 0)
    end = np.diag((np.arange(len(q)) < q.shape[1]).astype(float))
    for k in range(_validate.count("most", most)):
        if np.abs(q @ q.T - end).max() < tol:
            return k
        q = move(q, gamma, np.asarray(step), 1)
        if not np.linalg.norm(q) < 10 * np.sqrt(q.shape[1]):
            return None
    return None


def decay_factors(
    gamma: Float[np.ndarray, " m"], n: int, step: float, form: Literal["exact", "euler"]
) -> tuple[Float[np.ndarray, "k n"], Float[np.ndarray, "n n"]]:
    r"""By what one step multiplies a small deviation from the end of training, the n most negative eigenvectors.

    With g_i = -2 eta gamma_i, a = 1 + g_i and c = 1 - 2 eta gamma_j, for the step of the network: a part of eigenvector
    j in place of i <= n < j by the first, an entry (i, j) of I - q^T q by the second of

    .. math:: \frac{c\,(1 + 2a) - a^2}{a\,(1 + a)}, \qquad \frac{(1 - g_i)(1 - g_j)}{(1 + g_i)(1 + g_j)}

    and for the Euler step by 1 - 2 eta (gamma_j - gamma_i) and 1 - 2 (g_i + g_j). Both to first order. Raises
    ``ValueError`` for eigenvalues that do not increase, n of them that are not all negative, or ``step`` <= 0. Ours.
    """
    gamma = _validate.shaped("gamma", gamma, ("m",))
    step = _validate.scalar("step", step, _validate.positive)
    _validate.one_of("form", form, ("exact", "euler"))
    n = _validate.count("n", n)
    if n > len(gamma) or not (gamma[:n] < 0).all() or (np.diff(gamma) < 0).any():
        raise ValueError(f"gamma must increase and begin with n = {n} negative eigenvalues; got {gamma[: n + 1]}")
    g = -2 * step * gamma[:n]
    if form == "euler":
        return 1 - 2 * step * (gamma[n:, None] - gamma[:n]), 1 - 2 * (g[:, None] + g)
    a, c = 1 + g, (1 - 2 * step * gamma[n:])[:, None]
    ratio = (1 - g) / (1 + g)
    return (c * (1 + 2 * a) - a * a) / (a * (1 + a)), np.outer(ratio, ratio)


def count_products(form: Form, m: int, n: int, h: int = 0, samples: int = 0) -> int:
    """Do one step on random arrays and count the multiplications of every matrix product in it, one by one.

    Raises ``ValueError`` as :func:`products_per_step`.
    """
    products_per_step(form, m, n, h, samples)
    rng = np.random.default_rng(0)
    views = _counted(rng.standard_normal((3, max(samples, 1), m)))
    values = np.linspace(-1.0, 0.5, m)
    W1, W2 = map(_counted, random_network(rng, max(h, m, n), m, n))
    q = _counted(np.asarray(W1.T @ W2))
    _Counted.products = 0
    if form == "euler":
        _euler(q, values[:, None], np.full((1, 1), 0.05))
    elif form == "exact":
        _exact(q, values[:, None], np.full((1, 1), 0.05), None)
    elif "samples" in form:
        _sampled(W1, W2, views[0], views[1], views[2], 0.05, "linear" if form == "samples" else "tanh")
    else:
        _network(W1, W2, np.diag(values), np.full((1, 1), 0.05), "thin" in form)
    return _Counted.products


class _Counted(np.ndarray):
    """An array whose matrix products are counted."""

    products = 0
    __array_priority__ = 1.0

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        plain = [np.asarray(v) if isinstance(v, _Counted) else v for v in inputs]
        result = getattr(ufunc, method)(*plain, **kwargs)
        if ufunc is np.matmul:
            _Counted.products += result.size * plain[0].shape[-1]
        return _counted(result) if isinstance(result, np.ndarray) else result


def _counted(array: np.ndarray) -> np.ndarray:
    return np.asarray(array).view(_Counted)


def _euler(q: np.ndarray, gamma: np.ndarray, step: np.ndarray) -> np.ndarray:
    return q + step * velocity(q, gamma * q)


def _exact(q: np.ndarray, gamma: np.ndarray, step: np.ndarray, rotation: float | None) -> np.ndarray:
    U = np.concatenate([q, gamma * q], axis=-1)
    gram = U.mT @ U
    M, c, second = step_in_span(gram, step, rotation)
    root, values, vectors = _conjugate(gram, M)
    s = np.sqrt(1 + values)
    # (1 + y)^(-1/2) = 1 + y g(y) with a smooth g: nothing is divided by when q and Gamma q become dependent.
    moved = vectors @ ((-1 / (s * (1 + s)))[..., :, None] * (vectors.mT @ (root @ c)))
    return U @ ((c + M @ (root @ moved)) @ inverse_root(second))


def _network(
    W1: np.ndarray, W2: np.ndarray, gamma: np.ndarray, step: np.ndarray, thin: bool
) -> tuple[np.ndarray, np.ndarray]:
    q = W1.T @ W2
    force = gamma @ q
    if not thin:
        return _polar(W1 - 2 * step * (W2 @ force.T)), _polar(W2 - 2 * step * (W1 @ force))
    n = W2.shape[1]
    U = np.concatenate([q, force], axis=1)
    gram = U.T @ U
    M, _, second = step_in_span(gram, step, None)
    root, values, vectors = _conjugate(gram, M)
    s = np.sqrt(1 + values)
    # The next term of the same series: (1 + y)^(-1/2) = 1 - y/2 + y^2 k(y).
    inside = vectors.T @ (root @ M)
    X = inside.T @ (((s + 2) / (2 * s * (1 + s) ** 2))[:, None] * inside) - M / 2
    seen = W1 @ U
    turned = (seen - 2 * step * (W2 @ gram[n:])) @ X
    new = W1 - 2 * step * (W2 @ force.T) + turned @ U.T
    return new, (W2 - 2 * step * seen[:, n:]) @ inverse_root(second)


def _sampled(
    W1: np.ndarray,
    W2: np.ndarray,
    x: np.ndarray,
    positive: np.ndarray,
    negative: np.ndarray,
    step: float,
    activation: Activation,
) -> tuple[np.ndarray, np.ndarray]:
    if activation == "linear":
        difference = negative - positive
        hidden, apart = x @ W1.T, difference @ W1.T
        code, other = hidden @ W2, apart @ W2
        G1 = (other @ W2.T).T @ x + (code @ W2.T).T @ difference
    else:
        (hidden, slope), (minus, slope_minus), (plus, slope_plus) = (
            _activated(view @ W1.T, activation) for view in (x, negative, positive)
        )
        apart = minus - plus
        code, other = hidden @ W2, apart @ W2
        back = code @ W2.T
        G1 = (slope * (other @ W2.T)).T @ x + (slope_minus * back).T @ negative - (slope_plus * back).T @ positive
    scale = step / len(x)
    return _polar(W1 - scale * G1), _polar(W2 - scale * (hidden.T @ other + apart.T @ code))


def _start(q: np.ndarray, gamma: np.ndarray, step: Any, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Arrays that go together: eigenvalues and steps get the axes that they lack."""
    gamma = _validate.shaped("gamma", gamma, ("m",), batched=True)
    q = _validate.shaped("q", q, (gamma.shape[-1], "n"), batched=True)
    step = _validate.positive("step", step)
    if q.shape[:-2] != gamma.shape[:-1] or step.shape not in ((), q.shape[:-2]):
        raise ValueError(f"q has shape {q.shape}, gamma {gamma.shape}, step {step.shape}; need the same batch for each")
    return q, gamma[..., None], step[..., None, None], _validate.count("count", count, 0)


def _weights(W1: np.ndarray, W2: np.ndarray, m: int) -> tuple[np.ndarray, np.ndarray]:
    W1 = _validate.shaped("W1", W1, ("h", m))
    W2 = _validate.shaped("W2", W2, (len(W1), "n"))
    if len(W1) < max(m, W2.shape[1]):
        raise ValueError(f"the width is {len(W1)}; need at least {max(m, W2.shape[1])}, or the weights are no frames")
    return W1, W2


def _conjugate(gram: np.ndarray, M: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The root of the Gram matrix, and eigenvalues and eigenvectors of root M root."""
    values, vectors = np.linalg.eigh(gram)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]) @ vectors.mT
    inside = root @ (M @ root)
    return root, *np.linalg.eigh((inside + inside.mT) / 2)


def _polar(W: np.ndarray) -> np.ndarray:
    return W @ inverse_root(W.T @ W)


def _activated(pre: np.ndarray, activation: Activation) -> tuple[np.ndarray, np.ndarray]:
    """Values and slopes of the activation."""
    value = activate(pre, activation)
    return value, 1 - value * value if activation == "tanh" else (pre > 0).astype(float)
