import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssltheory import eigenmodes as em
from ssltheory.equal_spectrum import deviation_rate
from ssltheory.trajectory import Outcome

SPECTRA = st.lists(st.floats(1e-3, 3), min_size=2, max_size=6).map(np.array)
EXPONENTS = st.sampled_from([0.0, 0.5, 1.0, 1.7])
NOISES = st.sampled_from([0.0, 0.2, 1.0])


def cosine(mu, gradient, p=1.0, noise=0.0, first=0.0, **more):
    data = em.toy_data(noise, first)
    return em.velocity_of_modes(np.asarray(mu, dtype=float), loss="cosine", gradient=gradient, p=p, data=data, **more)


def angle_integral(mu, p, gradient):
    """Noise-free, n = 2: the length of z drops out and one integral over its angle is left, here over log tan."""
    step = 1 / 64
    t = step * np.arange(-64 * 150, 64 * 150 + 1)
    z2 = mu[:, None] * np.array([1 / (1 + np.exp(2 * t)), 1 / (1 + np.exp(-2 * t))])
    density = step * np.sqrt(z2.prod(axis=0) / mu.prod()) * 2 / np.pi
    d = (mu**p)[:, None]
    u, v = np.sqrt((d * d * z2).sum(axis=0)), np.sqrt(z2.sum(axis=0))
    spread = np.array([(d * (d - d[m]) * z2).sum(axis=0) for m in (0, 1)])
    first = d * z2 * spread / (u**3 * v)
    second = z2 * np.array([((d[m] - d) * z2).sum(axis=0) for m in (0, 1)]) / (u * v**3)
    force = {"sg": first, "iso": first / d, "wrong": second, "none": first + second}[gradient]
    return 2 * (density * force).sum(axis=1)


@pytest.mark.parametrize("p", [0.5, 1.0])
@pytest.mark.parametrize("condition", [1.5, 10.0, 1e4, 1e8])
def test_two_modes_without_noise_are_one_integral_over_an_angle(condition, p):
    mu = np.array([1.7, 1.7 / condition])
    for gradient in em.GRADIENTS:
        exact = angle_integral(mu, p, gradient)
        assert np.allclose(cosine(mu, gradient, p), exact, rtol=3e-11, atol=0), gradient


def test_the_angle_integral_agrees_with_adaptive_quadrature():
    from scipy.integrate import quad

    mu, p = np.array([1.2, 0.3]), 1.0
    d = mu**p

    def integrand(angle):
        z2 = mu * np.array([np.cos(angle) ** 2, np.sin(angle) ** 2])
        return d[1] * z2[1] * d[0] * (d[0] - d[1]) * z2[0] / ((d * d * z2).sum() ** 1.5 * z2.sum() ** 0.5)

    value = 2 * quad(integrand, 0, np.pi / 2, epsabs=1e-14, epsrel=1e-13)[0] * 2 / np.pi
    assert np.isclose(angle_integral(mu, p, "sg")[1], value, rtol=1e-12)
    assert np.isclose(cosine(mu, "sg", p)[1], value, rtol=1e-11)


MODES = {
    "first view clean": em.toy_data(0.4),
    "both views noisy": em.toy_data(0.3, 0.8),
    "each mode its own": em.ModeData(np.array([1.0, 0.6, 2.0]), np.array([0.9, -0.2, 0.0]), np.array([1.5, 0.3, 1.0])),
}


@pytest.mark.parametrize("which", MODES)
def test_three_modes_agree_with_a_large_sample(which):
    """The expectation as it is written, on 400,000 pairs; the difference is measured in standard errors."""
    rng = np.random.default_rng(5)
    mu, p, data = np.array([0.2, 0.9, 1.6]), 0.7, MODES[which]
    a, d = np.sqrt(mu / data.rho), mu**p
    x, xi = rng.standard_normal((2, 400_000, 3))
    z1 = a * np.sqrt(data.rho) * x
    v = a * (data.tau / np.sqrt(data.rho) * x + np.sqrt(data.sigma - data.tau**2 / data.rho) * xi)
    u = d * z1
    lu, lv = (np.sqrt((y * y).sum(axis=1, keepdims=True)) for y in (u, v))
    dot = (u * v).sum(axis=1, keepdims=True)
    towards_v, towards_u = (v * lu**2 - dot * u) / (lu**3 * lv), (u * lv**2 - dot * v) / (lu * lv**3)
    samples = {"sg": d * z1 * towards_v, "iso": z1 * towards_v, "wrong": v * towards_u}
    samples["none"] = samples["sg"] + samples["wrong"]
    for gradient, force in samples.items():
        exact = em.velocity_of_modes(mu, loss="cosine", gradient=gradient, p=p, data=data)
        force = 2 * data.rho * force
        assert (np.abs(force.mean(axis=0) - exact) < 4 * force.std(axis=0) / len(x) ** 0.5).all(), gradient


def direction_integral(mu, p, noise, gradient, points=600):
    """n = 2 with noise: the force sees only the directions theta, theta + psi of the views, whose joint law is known.

    The density of psi between two normal vectors in the plane whose coordinates correlate by r is, with q = r cos psi,
    (1 - r^2) / (2 pi) (1 + q (pi/2 + arcsin q) / sqrt(1 - q^2)) / (1 - q^2); both angles are periodic.
    """
    theta = 2 * np.pi * np.arange(points) / points
    e1, psi = np.array([np.cos(theta), np.sin(theta)])[:, :, None], theta[None, :]
    e2 = np.array([np.cos(theta[:, None] + psi), np.sin(theta[:, None] + psi)])
    r = 1 / np.sqrt(1 + noise**2)
    q = r * np.cos(psi)
    density = (1 - r * r) / (2 * np.pi) * (1 + q * (np.pi / 2 + np.arcsin(q)) / np.sqrt(1 - q * q)) / (1 - q * q)
    a, d = np.sqrt(mu)[:, None, None], (mu**p)[:, None, None]
    z1, v = a * e1, a * e2
    u = d * z1
    uu, vv, uv = ((x * y).sum(axis=0) for x, y in ((u, u), (v, v), (u, v)))
    first, second = u * (v * uu - uv * u) / (uu**1.5 * vv**0.5), v * (u * vv - uv * v) / (uu**0.5 * vv**1.5)
    force = {"sg": first, "iso": first / d, "wrong": second, "none": first + second}[gradient]
    return 2 * (density * force).mean(axis=(1, 2)) * 2 * np.pi


@pytest.mark.parametrize("noise", [0.4, 1.5])
def test_two_modes_with_noise_are_one_integral_over_two_directions(noise):
    for mu in (np.array([0.4, 1.1]), np.array([0.2, 1.0])):
        for p in (0.0, 0.5, 1.0):
            for gradient in em.GRADIENTS:
                exact = direction_integral(mu, p, noise, gradient)
                assert np.allclose(cosine(mu, gradient, p, noise), exact, rtol=2e-11, atol=1e-14), (mu, p, gradient)


@settings(max_examples=40, deadline=None)
@given(mu=SPECTRA, p=EXPONENTS, noise=NOISES, scale=st.floats(1e-6, 1e6), gradient=st.sampled_from(em.GRADIENTS))
def test_the_cosine_does_not_see_the_size_of_the_code(mu, p, noise, scale, gradient):
    power = -p if gradient == "iso" else 0.0
    once = cosine(mu, gradient, p, noise)
    assert np.allclose(
        cosine(scale * mu, gradient, p, noise), scale**power * once, rtol=1e-10, atol=1e-13 * scale**power
    )


@settings(max_examples=40, deadline=None)
@given(mu=SPECTRA, p=EXPONENTS, noise=NOISES, first=NOISES, gradient=st.sampled_from(em.GRADIENTS))
def test_velocities_keep_the_conserved_quantity_whatever_the_spectrum(mu, p, noise, first, gradient):
    data = em.toy_data(noise, first)
    velocity = cosine(mu, gradient, p, noise, first)
    weight = (mu**p if gradient == "iso" else 1.0) * np.ones_like(mu)
    assert abs(weight @ velocity) < 1e-14 * len(mu) * (np.abs(weight * velocity).sum() + 1)
    kept = em.conserved_quantity(mu, loss="cosine", gradient=gradient, p=p, data=data)
    assert np.isclose(kept, (weight * mu / data.rho).sum())


@settings(max_examples=40, deadline=None)
@given(mu=SPECTRA, p=st.sampled_from([0.5, 1.0, 1.7]), seed=st.integers(0, 99), noise=NOISES)
def test_modes_are_alike_a_permutation_permutes_and_a_zero_mode_stays(mu, p, seed, noise):
    order = np.random.default_rng(seed).permutation(len(mu))
    for gradient in em.GRADIENTS:
        velocity = cosine(mu, gradient, p, noise)
        assert np.allclose(cosine(mu[order], gradient, p, noise), velocity[order], rtol=1e-10, atol=1e-14)
        padded = cosine(np.append(mu, 0.0), gradient, p, noise)
        assert padded[-1] == 0
        assert np.allclose(padded[:-1], velocity, rtol=1e-10, atol=1e-14)


@settings(max_examples=60, deadline=None)
@given(mu=SPECTRA, p=EXPONENTS, noise=st.sampled_from([0.0, 0.2, 1.0, 5.0]))
def test_variance_flows_from_larger_to_smaller_modes_with_stop_gradient_whatever_the_noise(mu, p, noise):
    """Each pair exchanges variance in that direction: the largest falls, the smallest rises, every power sum falls."""
    mu = np.sort(mu)
    for gradient in ("sg", "iso"):
        velocity = cosine(mu, gradient, p, noise)
        small = 1e-13 * (1 + np.abs(velocity).sum())
        assert velocity[0] >= -small
        assert velocity[-1] <= small
        kept = mu**p if gradient == "iso" else 1.0
        assert (kept * mu * velocity).sum() <= small * mu.max()
        if p == noise == 0:
            assert np.abs(velocity).max() <= small


@settings(max_examples=40, deadline=None)
@given(mu=SPECTRA, p=st.sampled_from([0.5, 1.0, 1.7]))
def test_on_the_wrong_side_without_noise_the_largest_grows_and_the_smallest_shrinks(mu, p):
    mu = np.sort(mu)
    velocity = cosine(mu, "wrong", p)
    assert velocity[0] <= 1e-13
    assert velocity[-1] >= -1e-13


@pytest.mark.parametrize("p", [0.5, 1.0])
def test_without_stop_gradient_or_noise_equal_modes_part_by_a_square_and_two_of_them_by_a_cube(p):
    """delta_m' = -2 p^2 n / ((n + 2)(n + 4)) (delta_m^2 - mean), and for n = 2 p^2 (1 + p) delta^3 / 4, at mean 1."""
    delta = 1e-3
    for n in (3, 5, 10):
        x = np.random.default_rng(n).standard_normal(n)
        x -= x.mean()
        square = (cosine(1 + delta * x, "none", p) + cosine(1 - delta * x, "none", p)) / (2 * delta**2)
        expected = -2 * p * p * n / ((n + 2) * (n + 4)) * (x**2 - np.mean(x**2))
        assert np.allclose(square, expected, atol=1e-5 * np.abs(expected).max() + 3e-7)
    cube = cosine([1.02, 0.98], "none", p)[0] / 0.02**3
    assert np.isclose(cube, p * p * (1 + p) / 4, rtol=1e-3)


@pytest.mark.parametrize(("start", "p", "survivors"), [([0.4, 0.9, 1.1, 1.2], 0.5, 4), ([0.2, 0.6, 1.1, 1.2], 1.0, 3)])
def test_without_stop_gradient_but_with_noise_survivors_become_equal_and_the_rest_vanish(start, p, survivors):
    mu0, data = np.array(start), em.toy_data(0.5)
    flow = em.eigenvalue_flow(mu0, np.array([400.0]), loss="cosine", gradient="none", p=p, data=data, rtol=1e-8)
    assert flow.outcome is Outcome.CONVERGED
    alive = flow.mu[-1] > 1e-6
    assert alive.sum() == survivors
    assert np.allclose(flow.mu[-1, alive], mu0.sum() / survivors, rtol=1e-5)


@pytest.mark.parametrize(("n", "p", "noise"), [(10, 1.0, 0.1), (10, 0.5, 0.1), (4, 1.0, 0.05)])
def test_without_stop_gradient_the_noise_saves_a_low_mode_up_to_a_deficit(n, p, noise):
    """The linear rate -2 (1 + p) Q balances the square law at x = (1 + p) Q (n + 2)(n + 4)(n - 1) / (p^2 n (n - 2))."""
    pull = -float(deviation_rate(n, 1.0, p, gradient="none", noise=noise)) / 2
    x = pull * (n + 2) * (n + 4) * (n - 1) / (p * p * n * (n - 2))
    for share, sign in ((0.7, 1), (1.4, -1)):
        mu = np.append(1 - share * x, np.full(n - 1, 1 + share * x / (n - 1)))
        assert sign * cosine(mu, "none", p, noise)[0] > 0


@settings(max_examples=30, deadline=None)
@given(mu=SPECTRA, p=EXPONENTS, one=NOISES, two=NOISES)
def test_only_the_correlation_of_the_views_matters_not_which_of_them_is_noisy(mu, p, one, two):
    for gradient in ("sg", "none", "wrong"):
        forward, backward = ((1 + e**2) * mu for e in (one, two))
        first = cosine(forward, gradient, p, two, one) / (1 + one**2)
        second = cosine(backward, gradient, p, one, two) / (1 + two**2)
        assert np.allclose(first, second, rtol=1e-10, atol=1e-14)
    assert np.allclose(cosine(mu, "sg", 0.0, one), cosine(mu, "wrong", 0.0, one), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("n", [2, 3, 10, 40])
@pytest.mark.parametrize("p", [0.5, 1.0, 2.0])
def test_the_rate_of_equalisation_is_the_linearisation(n, p):
    small = 1e-4 * (np.arange(n) - (n - 1) / 2) / n
    for noise, first in ((0.0, 0.0), (0.5, 0.0), (1.5, 0.7)):
        for gradient in em.GRADIENTS:
            ahead, behind = (cosine(0.7 + sign * small, gradient, p, noise, first) for sign in (1, -1))
            rate = (ahead - behind) / 2 @ small / (small @ small)
            expected = deviation_rate(n, 0.7, p, gradient=gradient, noise=noise, noise_first=first)
            assert np.isclose(rate, expected, rtol=1e-6, atol=1e-7)
            if noise == 0 and gradient in ("sg", "iso"):
                d = 0.7**p if gradient == "iso" else 1.0
                assert np.isclose(expected, -2 * p / ((n + 2) * 0.7 * d), rtol=1e-12)


def test_condition_numbers_beyond_the_stated_range_degrade_gently():
    for condition, bound in ((1e10, 1e-9), (1e12, 1e-8)):
        mu = np.array([1.0, 1 / condition])
        for gradient in em.GRADIENTS:
            assert np.allclose(cosine(mu, gradient, 1.0), angle_integral(mu, 1.0, gradient), rtol=bound, atol=0)


def test_a_batch_is_its_members():
    rng = np.random.default_rng(0)
    mu = rng.uniform(0.01, 2, (2, 3, 4)) ** 2
    for loss in em.LOSSES:
        batch = em.velocity_of_modes(mu, loss=loss, gradient="none", p=0.5, data=em.toy_data(0.3))
        for index in np.ndindex(2, 3):
            alone = em.velocity_of_modes(mu[index], loss=loss, gradient="none", p=0.5, data=em.toy_data(0.3))
            assert np.allclose(batch[index], alone, rtol=1e-10, atol=1e-12)


# --- Flows ---------------------------------------------------------------------------------------------------------

STARTS = np.array([1e-6, 1e-3, 0.05, 0.3, 0.9, 1.0, 1.7, 40.0])


@pytest.mark.parametrize("p", [0.5, 1.0, 2.0])
def test_closed_forms_agree_with_the_integrator(p):
    t = np.array([0.0, 0.01, 0.5, 2.0, 9.0, 30.0])
    for noise in (0.0, 0.3):
        keep = {"loss": "euclidean", "p": p, "data": em.toy_data(noise), "rtol": 1e-11}
        flow = em.eigenvalue_flow(STARTS, t, gradient="sg", **keep)
        assert np.allclose(flow.mu, em.euclidean_sg(STARTS, t[:, None], p), rtol=1e-9, atol=0)
        flow = em.eigenvalue_flow(STARTS, t, gradient="iso", **keep)
        assert np.allclose(flow.mu, em.euclidean_iso(STARTS, t[:, None], p), rtol=1e-9, atol=0)
        below = STARTS[STARTS < 1.0]
        flow = em.eigenvalue_flow(below, t, gradient="wrong", **keep)
        assert np.allclose(flow.mu, em.euclidean_wrong(below, t[:, None], p, noise), rtol=1e-9, atol=0)
        starts = STARTS[STARTS != 1.0] if noise == 0 else STARTS
        flow = em.eigenvalue_flow(starts, t, gradient="none", **keep)
        gone = np.where(
            np.abs(flow.mu - 1) < 1e-3, 1.0, em.euclidean_none_time(starts, np.minimum(flow.mu, starts), p, noise)
        )
        assert np.allclose(np.where(np.abs(flow.mu - 1) < 1e-3, 1.0, t[:, None]), gone, rtol=1e-9, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(mu0=st.floats(1e-8, 1e4), p=st.floats(0.3, 2), t=st.floats(0, 50), s=st.floats(0, 50))
def test_closed_forms_are_flows_and_p_only_sets_the_unit_of_time(mu0, p, t, s):
    for form in (em.euclidean_sg, em.euclidean_iso):
        whole = form(mu0, t + s, p)
        assert np.isclose(form(form(mu0, t, p), s, p), whole, rtol=1e-8)
        assert np.isclose(whole**p, form(mu0**p, p * (t + s), 1.0), rtol=1e-8)
        assert min(mu0, 1.0) * (1 - 1e-12) <= whole <= max(mu0, 1.0) * (1 + 1e-12)
        assert np.isclose(form(mu0, 0.0, p), mu0, rtol=1e-9)


def test_closed_forms_keep_their_digits_at_both_ends():
    assert np.isclose(em.euclidean_sg(1e-12, 1e3, 1.0), 1 / (1e12 - 2e3 + np.log(1 / (1 - 2e-9))), rtol=1e-14)
    # From infinity mu = 1 / sqrt(4 t) at first: q + ln(1 - q) = -2 t with q = 1 / mu.
    assert np.isclose(em.euclidean_sg(1e12, 1e-10, 1.0), 1 / np.sqrt(4e-10), rtol=1e-4)
    assert np.isclose(em.euclidean_sg(1e9, 0.0, 1.0), 1e9, rtol=1e-12)


@pytest.mark.parametrize("p", [0.5, 1.0])
def test_recruitment_a_small_mode_waits_for_a_power_of_its_size_or_its_logarithm(p):
    mu0 = np.array([1e-6, 1e-4, 0.01])
    slow, fast = (em.recruitment_time(mu0, p, iso=iso) for iso in (False, True))
    assert np.allclose(em.euclidean_sg(mu0, slow, p) ** p, 0.5, rtol=1e-10)
    assert np.allclose(em.euclidean_iso(mu0, fast, p) ** p, 0.5, rtol=1e-10)
    assert np.isclose(slow[0] * 2 * p * mu0[0] ** p, 1, rtol=0.02)
    assert np.isclose(fast[0], -np.log(mu0[0]) / 2, rtol=1e-2)


@pytest.mark.parametrize("p", [0.5, 1.0])
def test_the_wrong_side_of_the_euclidean_loss_blows_up_when_the_formula_says(p):
    mu0, noise = np.array([0.5, 2.0]), 0.4
    c = 1 + noise**2
    when = -np.log(1 - c / 2.0**p) / (2 * p * c)
    flow = em.eigenvalue_flow(
        mu0, np.linspace(0, 5, 6), loss="euclidean", gradient="wrong", p=p, data=em.toy_data(noise)
    )
    assert flow.outcome is Outcome.DIVERGED
    assert flow.reason.startswith("diverged")
    assert len(flow.t) == len(flow.mu)
    assert np.isclose(flow.t[-1], when, rtol=1e-3)
    assert np.isfinite(em.euclidean_wrong(2.0, when * (1 - 1e-9), p, noise))
    assert np.isinf(em.euclidean_wrong(2.0, when * (1 + 1e-9), p, noise))
    assert em.euclidean_wrong(c ** (1 / p), 3.0, p, noise) == pytest.approx(c ** (1 / p), rel=1e-6)


@pytest.mark.parametrize("p", [0.5, 1.0])
def test_without_stop_gradient_a_mode_lingers_near_one_for_pi_over_twice_p_noise(p):
    for noise in (1e-2, 1e-3):
        time = em.euclidean_none_time(3.0, 0.1, p, noise)
        assert np.isclose(time * 2 * p * noise / np.pi, 1, rtol=3 * noise * 4)
    assert np.isinf(em.euclidean_none_time(2.0, 0.5, p, 0.0))
    assert np.isfinite(em.euclidean_none_time(0.9, 0.5, p, 0.0))


@pytest.mark.parametrize("p", [0.5, 1.0])
@pytest.mark.parametrize("gradient", em.GRADIENTS)
def test_cosine_flows_keep_their_quantity_to_the_integrator_s_tolerance(gradient, p):
    mu0 = np.array([0.05, 0.2, 0.5, 0.7, 1.4])
    for noise, first in ((0.0, 0.0), (0.6, 0.3)):
        data = em.toy_data(noise, first)
        flow = em.eigenvalue_flow(mu0, np.linspace(0, 6, 4), loss="cosine", gradient=gradient, p=p, data=data)
        kept = em.conserved_quantity(flow.mu, loss="cosine", gradient=gradient, p=p, data=data)
        assert np.allclose(kept, kept[0], rtol=1e-10)


@pytest.mark.parametrize("p", [0.5, 1.0])
@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_stop_gradient_and_isoloss_make_all_modes_equal_in_order_and_zero_modes_stay(p, noise):
    mu0 = np.array([0.0, 0.01, 0.1, 0.5, 0.8])
    for gradient in ("sg", "iso"):
        data = em.toy_data(noise)
        flow = em.eigenvalue_flow(mu0, np.array([1.0, 5.0, 800.0]), loss="cosine", gradient=gradient, p=p, data=data)
        assert flow.outcome is Outcome.CONVERGED
        assert (flow.mu[:, 0] == 0).all()
        assert (np.diff(flow.mu[:2, 1:], axis=1) > 0).all()
        total = mu0.sum() / 4 if gradient == "sg" else ((mu0 ** (1 + p)).sum() / 4) ** (1 / (1 + p))
        assert np.allclose(flow.mu[-1, 1:], total, rtol=1e-8)


@pytest.mark.parametrize("p", [0.5, 1.0])
def test_the_wrong_side_leaves_one_mode_in_finite_time_with_the_total_kept(p):
    """s_2' -> -(8 / pi) sqrt(s_2 / s_1) once s_2 is much the smaller: sqrt(s_2) falls to 0 at a constant speed."""
    data = em.toy_data()
    tiny = 1e-14
    speed = cosine(np.array([1.0, tiny]), "wrong", p)[1]
    assert np.isclose(speed, -4 / np.pi * 2 * np.sqrt(tiny) / 2, rtol=1e-5)
    flow = em.eigenvalue_flow(
        np.array([0.2, 0.3, 0.5]), np.linspace(0, 20, 5), loss="cosine", gradient="wrong", p=p, data=data
    )
    assert flow.outcome is Outcome.CONVERGED
    assert flow.mu[-1].tolist()[:2] == [0.0, 0.0]
    assert np.isclose(flow.mu[-1, 2], 1.0, rtol=1e-9)


@pytest.mark.parametrize("gradient", em.GRADIENTS)
def test_euclidean_modes_with_weight_decay_move_as_their_own_equation_says(gradient):
    rng = np.random.default_rng(1)
    rho, tau, sigma, mu = rng.uniform(0.5, 2, (4, 5))
    tau = 0.6 * np.sqrt(rho * sigma)
    data, p, lam = em.ModeData(rho, tau, sigma), 0.5, 0.07
    d = mu**p
    own = {"sg": d * tau - rho * d**2, "iso": tau - rho * d, "wrong": d * tau - sigma}
    own["none"] = own["sg"] + own["wrong"]
    velocity = em.velocity_of_modes(mu, loss="euclidean", gradient=gradient, p=p, data=data, lam=lam)
    assert np.allclose(velocity, 2 * mu * (own[gradient] - lam), rtol=1e-13)
    shift = cosine(mu, gradient, p, 0.3, lam=lam) - cosine(mu, gradient, p, 0.3)
    assert np.allclose(shift, -2 * lam * mu, atol=1e-15)


def test_bad_input_is_named():
    mu, data = np.ones(3), em.toy_data()
    with pytest.raises(ValueError, match="loss"):
        em.velocity_of_modes(mu, loss="hinge", gradient="sg", p=1, data=data)
    with pytest.raises(ValueError, match="gradient"):
        em.velocity_of_modes(mu, loss="cosine", gradient="both", p=1, data=data)
    with pytest.raises(ValueError, match="identically zero"):
        cosine(np.zeros(3), "sg")
    with pytest.raises(ValueError, match="mu"):
        cosine([-1.0, 1.0], "sg")
    with pytest.raises(ValueError, match="modes"):
        em.velocity_of_modes(
            mu, loss="cosine", gradient="sg", p=1, data=em.ModeData(np.ones(2), np.ones(2), np.ones(2))
        )
    with pytest.raises(ValueError, match="Cauchy"):
        em.ModeData(np.array(1.0), np.array(2.0), np.array(1.0))
    with pytest.raises(ValueError, match="conserved"):
        em.conserved_quantity(mu, loss="euclidean", gradient="sg", p=1, data=data)
    with pytest.raises(ValueError, match="increasing"):
        em.eigenvalue_flow(mu, np.array([1.0, 0.5]), loss="cosine", gradient="sg", p=1, data=data)
    with pytest.raises(ValueError, match="p must be"):
        em.euclidean_sg(1.0, 1.0, 0.0)
    with pytest.raises(ValueError, match="only falls"):
        em.euclidean_none_time(1.0, 2.0, 1.0, 0.1)
