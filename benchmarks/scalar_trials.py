"""How long does the scalar table take: 10,000 trials of SG and of EMA, each flow taken to rest?

The trials are those of the chapter on the scalar case: rho in [0, 3], tau in [-1, 1], lambda in [0.01, 0.1], uniform
given that nonzero equilibria exist; n = 2; entries of A and B normal with variance 1/n; the teacher at alpha = 0.999
and step 0.1, so kappa = 0.01. Every method integrates the same flow until the norm of its field is 1e-9.

Three ways, in one run, at the same relative tolerance per step (1e-5) where the method has one: this package (threads
on all cores), a loop over trials of scipy's ``solve_ivp`` with LSODA (a subsample, scaled up), and diffrax under
``jit`` and ``vmap`` (its solvers and batch sizes tried on a subsample, the best one run on all trials). Compilation is
timed apart for both compiled methods. Prints one JSON object.

    pip install -r requirements-bench.lock
    python benchmarks/scalar_trials.py [--trials 10000] [--scipy-trials 100] [--no-diffrax] [--scale]
"""

import argparse
import json
import os
import platform
import resource
import sys
import time
from importlib import metadata
from typing import Any

import numpy as np

from ssltheory.ensemble import Rest, flow_to_rest
from ssltheory.scalar_trials import draw_states, draw_trials

FIELD_TOL = 1e-9
KAPPA = 0.01  # (1 - 0.999) / 0.1
LIMIT = 1e7


def log(text: str) -> None:
    """Say on the terminal what is under way."""
    print(text, file=sys.stderr, flush=True)


def ours(dynamics: str, trials: Any, A: np.ndarray, B: np.ndarray, **options: Any) -> Rest:
    """Take a table to rest with this package."""
    kappa = KAPPA if dynamics == "ema" else None
    return flow_to_rest(
        dynamics,  # type: ignore[arg-type]
        A,
        B,
        X=trials.rho[:, None, None],
        Y=trials.tau[:, None, None],
        lam=trials.lam,
        kappa=kappa,
        field_tol=FIELD_TOL,
        **options,
    )


def alive(A: np.ndarray) -> np.ndarray:
    """Tell which trials ended away from the origin; nonzero radii are far above this for the drawn parameters."""
    return np.linalg.norm(A.reshape(len(A), -1), axis=1) > 1e-3


def scipy_loop(dynamics: str, trials: Any, A: np.ndarray, B: np.ndarray, count: int) -> tuple[float, np.ndarray, int]:
    """Run LSODA trial by trial; return the seconds, which ended alive, and how many did not come to rest."""
    from scipy.integrate import solve_ivp

    n = A.shape[1]
    ema = dynamics == "ema"

    def field(t: float, y: np.ndarray, rho: float, tau: float, lam: float) -> np.ndarray:
        a, P = y[:n], y[n : n + n * n].reshape(n, n)
        r = rho * (P @ a) - tau * (y[n + n * n :] if ema else a)
        parts = [-(r @ P) - lam * a, (-np.multiply.outer(r, a) - lam * P).ravel()]
        if ema:
            parts.append(KAPPA * (a - y[n + n * n :]))
        return np.concatenate(parts)

    def at_rest(t: float, y: np.ndarray, *args: float) -> float:
        return float(np.linalg.norm(field(t, y, *args))) - FIELD_TOL

    at_rest.terminal = True  # type: ignore[attr-defined]
    ends, unfinished = np.empty((count, n, 1)), 0
    start = time.perf_counter()
    for k in range(count):
        y0 = np.concatenate([A[k].ravel(), B[k].ravel()] + ([A[k].ravel()] if ema else []))
        out = solve_ivp(
            field,
            (0, LIMIT),
            y0,
            method="LSODA",
            rtol=1e-5,
            atol=1e-11,
            events=at_rest,
            args=(trials.rho[k], trials.tau[k], trials.lam[k]),
        )
        ends[k, :, 0] = out.y[:n, -1]
        unfinished += out.status != 1
    return time.perf_counter() - start, alive(ends), unfinished


def diffrax_best(dynamics: str, trials: Any, A: np.ndarray, B: np.ndarray) -> dict[str, Any]:
    """Try diffrax's solvers and batch sizes on a subsample and run the fastest on all trials."""
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=true")
    import diffrax
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    n = A.shape[1]
    ema = dynamics == "ema"

    def field(t: Any, y: Any, args: Any) -> Any:
        a, P, c = y[:n], y[n : n + n * n].reshape(n, n), y[n + n * n :] if ema else y[:n]
        rho, tau, lam = args
        r = rho * (P @ a) - tau * c
        parts = [-(r @ P) - lam * a, (-jnp.outer(r, a) - lam * P).ravel()]
        if ema:
            parts.append(KAPPA * (a - c))
        return jnp.concatenate(parts)

    rest = diffrax.Event(diffrax.steady_state_event(rtol=0.0, atol=FIELD_TOL, norm=jnp.linalg.norm))

    def program(solver: Any, rtol: float, batch: int | None) -> Any:
        def one(inputs: Any) -> Any:
            y0, args = inputs
            out = diffrax.diffeqsolve(
                diffrax.ODETerm(field),
                solver,
                t0=0.0,
                t1=LIMIT,
                dt0=0.01,
                y0=y0,
                args=args,
                stepsize_controller=diffrax.PIDController(rtol=rtol, atol=rtol * 1e-3),
                event=rest,
                max_steps=20_000,
                adjoint=diffrax.ForwardMode(),
                throw=False,
            )
            return out.ys[-1], out.result == diffrax.RESULTS.event_occurred

        if batch is None:
            return jax.jit(lambda inputs: jax.vmap(one)(inputs))
        return jax.jit(lambda inputs: jax.lax.map(one, inputs, batch_size=batch))

    y0 = np.concatenate([A[:, :, 0], B.reshape(len(B), -1)] + ([A[:, :, 0]] if ema else []), axis=1)
    inputs = (jnp.asarray(y0), (jnp.asarray(trials.rho), jnp.asarray(trials.tau), jnp.asarray(trials.lam)))

    def timed(run: Any, data: Any) -> tuple[float, Any]:
        start = time.perf_counter()
        out = jax.block_until_ready(run(data))
        return time.perf_counter() - start, out

    tried: dict[str, dict[str, float]] = {}
    programs: dict[str, Any] = {}
    # Explicit solvers meet the step limit on stiff trials; 100 trials are enough to see it.
    candidates: list[tuple[str, float, int | None, int]] = [("Tsit5", 1e-6, None, 100), ("Dopri8", 1e-6, None, 100)]
    implicit = ("Kvaerno3", "Kvaerno4", "Kvaerno5")
    candidates += [(name, rtol, batch, 1000) for name in implicit for rtol in (1e-5, 1e-6) for batch in (None, 50)]
    for name, rtol, batch, count in candidates:
        key = f"{name}, rtol {rtol:g}, " + ("one vmap" if batch is None else f"map of vmaps of {batch}")
        run = program(getattr(diffrax, name)(), rtol, batch)
        sub = jax.tree.map(lambda v, count=count: v[:count], inputs)
        _, (_, done) = timed(run, sub)
        seconds, _ = timed(run, sub)
        tried[key] = {"seconds_for_1000": seconds * 1000 / count, "share_at_rest": float(jnp.mean(done))}
        log(f"  diffrax {dynamics} {key}: {json.dumps(tried[key])}")
        if tried[key]["share_at_rest"] >= 0.999:  # a solver that leaves trials unfinished has not done the work
            programs[key] = run
    if not programs:
        raise RuntimeError("no diffrax solver brought 99.9% of the subsample to rest")
    best = min(programs, key=lambda key: tried[key]["seconds_for_1000"])
    log(f"  diffrax {dynamics}: all trials with {best}")
    first, _ = timed(programs[best], inputs)
    seconds, (states, done) = timed(programs[best], inputs)
    return {
        "solver": best,
        "seconds": seconds,
        "compile_seconds": first - seconds,
        "unfinished": int((~np.asarray(done)).sum()),
        "alive": alive(np.asarray(states)[:, :n, None]),
        "tried": tried,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--scipy-trials", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-diffrax", action="store_true")
    parser.add_argument("--scale", action="store_true", help="also 10^5 and 10^6 trials: is the cost linear?")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    n = 2
    trials = draw_trials(rng, options.trials)
    A, B = draw_states(rng, options.trials, n, "normal", n**-0.5)

    report: dict[str, Any] = {
        "question": "seconds for 10,000 trials each of SG and EMA, flow to rest, m = 1, n = 2",
        "trials": options.trials,
        "field_tol": FIELD_TOL,
        "kappa": KAPPA,
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "versions": {p: metadata.version(p) for p in ("numpy", "scipy", "numba")},
    }
    tables: dict[str, Any] = {}
    for dynamics in ("sg", "ema"):
        log(f"{dynamics}: this package")
        start = time.perf_counter()
        ours(dynamics, trials[:1], A[:1], B[:1])
        compiled = time.perf_counter() - start
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            rest = ours(dynamics, trials, A, B)
            seconds.append(time.perf_counter() - start)
        reference = ours(dynamics, trials, A, B, rtol=1e-9, atol=1e-12)
        up = alive(rest.A)
        row: dict[str, Any] = {
            "seconds": min(seconds),
            "seconds_all_runs": seconds,
            "compile_seconds": compiled,
            "outcomes": rest.counts,
            "largest_field_norm": float(rest.field_norm.max()),
            "above_field_tol_at_rounding_floor": int((rest.field_norm > FIELD_TOL).sum()),
            "mean_steps": float(rest.steps.mean()),
            "share_alive": float(up.mean()),
            "agreement_with_rtol_1e-9": float(np.mean(up == alive(reference.A))),
        }
        count = min(options.scipy_trials, options.trials)
        log(f"{dynamics}: scipy, {count} trials")
        spent, scipy_up, unfinished = scipy_loop(dynamics, trials, A, B, count)
        row["scipy"] = {
            "trials": count,
            "seconds": spent,
            "seconds_scaled": spent * options.trials / count,
            "ratio": spent * options.trials / count / min(seconds),
            "unfinished": unfinished,
            "agreement": float(np.mean(scipy_up == up[:count])),
        }
        if not options.no_diffrax:
            peer = diffrax_best(dynamics, trials, A, B)
            peer["agreement"] = float(np.mean(peer.pop("alive") == up))
            peer["ratio"] = peer["seconds"] / min(seconds)
            row["diffrax"] = peer
        tables[dynamics] = row
    report["tables"] = tables
    report["seconds_both_tables"] = sum(t["seconds"] for t in tables.values())
    report["ratio_scipy"] = sum(t["scipy"]["seconds_scaled"] for t in tables.values()) / report["seconds_both_tables"]
    if not options.no_diffrax:
        report["versions"] |= {p: metadata.version(p) for p in ("jax", "diffrax")}
        total = sum(t["diffrax"]["seconds"] for t in tables.values())
        report["ratio_diffrax"] = total / report["seconds_both_tables"]
    if options.scale:
        report["scale_sg"] = []
        for count in (10_000, 100_000, 1_000_000):
            many = draw_trials(rng, count)
            A, B = draw_states(rng, count, n, "normal", n**-0.5)
            start = time.perf_counter()
            rest = ours("sg", many, A, B)
            spent = time.perf_counter() - start
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            entry = {"trials": count, "seconds": spent, "microseconds_a_trial": 1e6 * spent / count, "peak_mib": peak}
            report["scale_sg"].append(entry | {"unfinished": rest.counts["unfinished"]})
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
