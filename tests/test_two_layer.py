"""Laws of the small networks: the linear case, exact derivatives, the norm law of the cosine loss."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ssltheory import two_layer  # noqa: E402
from ssltheory.linear import LinearProblem  # noqa: E402
from ssltheory.moments import second_moments  # noqa: E402
from ssltheory.two_layer import TwoLayer, field_jacobian, joint_loss, mean_field, teacher_loss  # noqa: E402

NETS = [
    TwoLayer(2, 3),
    TwoLayer(2, 3, hidden=4, scale=0.7),
    TwoLayer(2, 3, hidden=4, predictor_hidden=2, activation="swish", bias=True),
    TwoLayer(2, 3, hidden=4, activation="relu"),
]
DYNAMICS = [("gradient", None), ("sg", None), ("ema", 0.3)]


def pairs(seed=0, count=60, m=2):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, m))
    return x, x @ [[0.8, -0.3], [0.2, 0.9]] + 0.4 * rng.standard_normal((count, m))


def draw(net, dynamics, seed=1):
    rng = np.random.default_rng(seed)
    p = net.initial(rng) + 0.05 * rng.standard_normal(net.size)
    teacher = p[: net.encoder_size] + 0.3 * rng.standard_normal(net.encoder_size)
    return np.concatenate([p, teacher]) if dynamics == "ema" else p


@pytest.mark.parametrize(("dynamics", "kappa"), DYNAMICS)
def test_the_linear_network_has_the_field_of_the_linear_problem(dynamics, kappa):
    x, y = pairs()
    net = TwoLayer(2, 3)
    p = draw(net, dynamics)
    A, B, *C = net.arrays(p)
    problem = LinearProblem(second_moments(x, y), 0.05, 3)
    expected = problem.field(dynamics, A, B, *C, kappa=kappa)
    found = mean_field(net, p, x, y, lam=0.05, dynamics=dynamics, kappa=kappa)
    np.testing.assert_allclose(found, np.concatenate([v.ravel() for v in expected]), rtol=1e-12)
    assert joint_loss(net, p, x, y, lam=0.05) == pytest.approx(float(problem.loss(A, B)))
    if C:
        assert teacher_loss(net, p, x, y, lam=0.05) == pytest.approx(float(problem.teacher_loss(A, B, C[0])))


def test_at_scale_zero_two_layers_are_their_product():
    x, _ = pairs()
    net = TwoLayer(2, 3, hidden=4, predictor_hidden=5, scale=0)
    p = draw(net, "sg")
    W1, W2, V1, V2 = net.arrays(p)
    np.testing.assert_allclose(net.predict(p, x), x @ (V2 @ V1 @ W2 @ W1).T, rtol=1e-12)


@pytest.mark.parametrize("activation", ["tanh", "swish"])
def test_a_small_scale_is_near_the_linear_network(activation):
    x, _ = pairs()
    gaps = []
    for scale in (1e-2, 1e-3):
        p = draw(net := TwoLayer(2, 3, hidden=4, scale=scale, activation=activation), "sg")
        gaps.append(np.abs(net.encode(p, x) - TwoLayer(2, 3, hidden=4, scale=0).encode(p, x)).max())
    assert np.log10(gaps[0] / gaps[1]) == pytest.approx(2 if activation == "tanh" else 1, abs=0.1)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("loss", ["squared", "cosine"])
@pytest.mark.parametrize(("dynamics", "kappa"), DYNAMICS)
def test_the_field_and_its_jacobian_are_the_derivatives_that_they_say(net, loss, dynamics, kappa):
    x, y = pairs()
    p = draw(net, dynamics)
    rng = np.random.default_rng(2)
    v = rng.standard_normal(len(p))
    h = 1e-6

    def field(q):
        return mean_field(net, q, x, y, lam=0.05, loss=loss, dynamics=dynamics, kappa=kappa)

    J = field_jacobian(net, p, x, y, lam=0.05, loss=loss, dynamics=dynamics, kappa=kappa)
    np.testing.assert_allclose((field(p + h * v) - field(p - h * v)) / (2 * h), J @ v, rtol=1e-5, atol=1e-7)
    # The student moves down F with the teacher held, or down E.
    w = v[: net.size]
    target = p[net.size :] if dynamics == "ema" else p[: net.encoder_size]

    def value(q):
        own = q[: net.encoder_size] if dynamics == "gradient" else target
        return teacher_loss(net, np.concatenate([q, own]), x, y, lam=0.05, loss=loss)

    slope = (value(p[: net.size] + h * w) - value(p[: net.size] - h * w)) / (2 * h)
    assert -field(p)[: net.size] @ w == pytest.approx(slope, rel=1e-6, abs=1e-8)
    if dynamics == "gradient":
        np.testing.assert_allclose(J, J.T, atol=1e-12)
    else:
        assert np.abs(J - J.T).max() > 1e-2


@pytest.mark.parametrize("net", [NETS[0], NETS[3]])
@pytest.mark.parametrize(("dynamics", "kappa"), DYNAMICS)
def test_under_the_cosine_loss_the_norm_of_every_layer_only_decays(net, dynamics, kappa):
    # f and g are positively homogeneous in each matrix, and the cosine does not see a positive factor.
    x, y = pairs()
    p = draw(net, dynamics)
    field = mean_field(net, p, x, y, lam=0.05, loss="cosine", dynamics=dynamics, kappa=kappa)
    layers = len(net.encoder_shapes + net.predictor_shapes)
    for M, dM in list(zip(net.arrays(p), net.arrays(field), strict=True))[:layers]:
        assert 2 * (M * dM).sum() == pytest.approx(-2 * 0.05 * (M * M).sum(), rel=1e-12)


def test_bad_input_is_named():
    x, y = pairs()
    net = TwoLayer(2, 3)
    p = draw(net, "sg")
    with pytest.raises(ValueError, match="parameters"):
        mean_field(net, p[:-1], x, y, lam=0.1)
    with pytest.raises(ValueError, match="teacher"):
        mean_field(net, p, x, y, lam=0.1, dynamics="ema", kappa=0.1)
    with pytest.raises(ValueError, match="kappa"):
        mean_field(net, draw(net, "ema"), x, y, lam=0.1, dynamics="ema")
    with pytest.raises(ValueError, match="relu"):
        TwoLayer(2, 3, activation="relu", scale=0)
    with pytest.raises(ValueError, match="loss"):
        two_layer.joint_loss(net, p, x, y, lam=0.1, loss="hinge")
