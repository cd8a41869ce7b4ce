"""Compiled kernels of the ensembles: one trial at a time, for one size or for many.

The flow is integrated by RODAS, the L-stable Rosenbrock method of order 4(3) of Hairer and Wanner (*Solving Ordinary
Differential Equations II*, section IV.7). A step solves six linear systems with one matrix ``I - g J``. ``J`` acts on
``n m + n^2`` (or ``2 n m + n^2``) unknowns, but its action on ``B`` is a rank-``m`` coupling plus a multiple of the
identity, and on ``C`` a multiple of the identity: both are eliminated by hand and a system of size ``n m`` is left,
that is ``2 x 2`` where ``m = 1`` and ``n = 2``.

Where the compiler knows the size, its loops are unrolled and a step is up to three times as fast; but a kernel takes
seconds to compile. So only the smallest sizes have a kernel each, and the others share: all ``n`` one for each small
``m``, and all larger ``m`` one. The operations and their order, hence the results, are the same to the last bit.
"""

from collections.abc import Callable
from functools import cache, wraps
from threading import Lock
from typing import Any

import numba as nb
import numpy as np
from numba.extending import register_jitable

CONVERGED, UNFINISHED, DIVERGED = 0, 1, 2
GRADIENT, SG, EMA = 0, 1, 2
CODES = {"gradient": GRADIENT, "sg": SG, "ema": EMA}
ANY = 0  # a size that is given at run time
ESCAPE = 1e8
_EPS = float(np.finfo(float).eps)

# RODAS, Hairer & Wanner: stage weights a_ij, couplings c_ij / h, gamma.
_A = np.zeros((6, 5))
_A[1, :1] = [1.544]
_A[2, :2] = [0.9466785280815826, 0.2557011698983284]
_A[3, :3] = [3.314825187068521, 2.896124015972201, 0.9986419139977817]
_A[4, :4] = [1.221224509226641, 6.019134481288629, 12.53708332932087, -0.6878860361058950]
_A[5, :5] = [1.221224509226641, 6.019134481288629, 12.53708332932087, -0.6878860361058950, 1.0]
_C = np.zeros((6, 5))
_C[1, :1] = [-5.6688]
_C[2, :2] = [-2.430093356833875, -0.2063599157091915]
_C[3, :3] = [-0.1073529058151375, -9.594562251023355, -20.47028614809616]
_C[4, :4] = [7.496443313967647, -10.24680431464352, -33.99990352819905, 11.70890893206160]
_C[5, :5] = [8.083246795921522, -7.981132988064893, -31.52159432874371, 16.31930543123136, -6.058818238834054]
_GAMMA = 0.25


# Kernels are kept on disk, so every function that goes into one has a name of its own for each dynamics and size.
# Otherwise numba would file two kernels in one place, and take one's function for the other's when it loads both.


def _named(function: Callable, *parts: object) -> Callable:
    function.__qualname__ = "_".join(map(str, parts))
    return function


def _part(*name: object) -> Callable[[Callable], Any]:
    """Make a function that kernels call; numba would not find a kernel again that calls a compiled one."""
    return lambda function: register_jitable(error_model="numpy")(_named(function, *name))


def _kernel(*name: object) -> Callable[[Callable], Any]:
    """Compile a kernel, or load it from disk; where no folder can be written it is compiled in each process."""

    def compiled(function: Callable) -> Any:
        try:
            return nb.njit(nogil=True, cache=True, error_model="numpy")(_named(function, *name))
        except RuntimeError:
            return nb.njit(nogil=True, error_model="numpy")(function)

    return compiled


def _made_once(make: Callable) -> Callable:
    """Make each kernel once, also when several threads of a worker ask for it at the same time."""
    made, lock = cache(make), Lock()

    @wraps(make)
    def ask(*size: int) -> Any:
        with lock:
            return made(*size)

    return ask


def known(n: int, m: int) -> tuple[int, int]:
    """Return what of a size its kernel is compiled for."""
    if n * m <= 2:
        return n, m
    return ANY, m if m <= 3 else ANY


def sizes_part(n: int, m: int) -> Any:
    """Return ``sizes(rows, columns)``, which gives what is known when compiling and passes on the rest."""

    @_part("sizes", n, m)
    def sizes(rows, columns):
        return n or rows, m or columns

    return sizes


def field_part(dynamics: int, n: int, m: int) -> Any:
    """Return ``field(y, X, Y, Z, lam, kappa, R, out)`` for one dynamics and one size, to be compiled into a kernel.

    Writes the time derivative of the flat state ``y = (A, B[, C])`` to ``out`` and the residual to ``R``; returns the
    squared norm of the derivative.
    """
    sizes = sizes_part(n, m)

    @_part("field", dynamics, n, m)
    def field(y, X, Y, Z, lam, kappa, R, out):
        n, m = sizes(R.shape[0], R.shape[1])
        na, nn = n * m, n * n
        t = na + nn if dynamics == EMA else 0  # where the teacher starts
        for i in range(n):
            for a in range(m):
                s = 0.0
                for j in range(n):
                    bij = y[na + i * n + j]
                    for b in range(m):
                        s += bij * y[j * m + b] * X[b, a]
                for b in range(m):
                    s -= y[t + i * m + b] * Y[b, a]
                R[i, a] = s
        square = 0.0
        for i in range(n):
            for a in range(m):
                s = lam * y[i * m + a]
                for j in range(n):
                    s += y[na + j * n + i] * R[j, a]
                if dynamics == GRADIENT:
                    for b in range(m):
                        ba = 0.0
                        for j in range(n):
                            ba += y[na + i * n + j] * y[j * m + b]
                        s -= ba * Y[a, b] - y[i * m + b] * Z[b, a]
                out[i * m + a] = -s
                square += s * s
        for i in range(n):
            for j in range(n):
                s = lam * y[na + i * n + j]
                for a in range(m):
                    s += R[i, a] * y[j * m + a]
                out[na + i * n + j] = -s
                square += s * s
        if dynamics == EMA:
            for k in range(na):
                s = kappa * (y[k] - y[t + k])
                out[t + k] = s
                square += s * s
        return square

    return field


@_made_once
def flow_kernel(dynamics: int, n: int, m: int) -> Any:
    """Compile the flow to rest of a slice of trials, for one dynamics and for one size or :data:`ANY`."""
    sizes, field = sizes_part(n, m), field_part(dynamics, n, m)
    A_, C_, gamma = _A, _C, _GAMMA

    @_part("factor", dynamics, n, m)
    def factor(y, X, Y, Z, lam, kappa, R, g, N, L, M, pivot, AX, AXN, SX):
        """Build and factor the ``n m`` system of ``I - g J``; leave what the solves need in N, L, M, AX."""
        n, m = sizes(R.shape[0], R.shape[1])
        na = n * m
        d = 1.0 + g * lam
        theta = g * kappa / (1.0 + g * kappa) if dynamics == EMA else 1.0
        for i in range(n):
            for a in range(m):
                s = 0.0
                for b in range(m):
                    s += y[i * m + b] * X[b, a]
                AX[i, a] = s
        # N = (I + (g/d) S X)^{-1}, by Gauss-Jordan; S X = A^T (A X) has eigenvalues >= 0, so no pivoting is needed.
        for a in range(m):
            for b in range(m):
                s = 0.0
                for i in range(n):
                    s += y[i * m + a] * AX[i, b]
                SX[a, b] = (g / d) * s + (1.0 if a == b else 0.0)
                N[a, b] = 1.0 if a == b else 0.0
        for p in range(m):
            q = 1.0 / SX[p, p]
            for b in range(m):
                SX[p, b] *= q
                N[p, b] *= q
            for a in range(m):
                if a != p:
                    f = SX[a, p]
                    for b in range(m):
                        SX[a, b] -= f * SX[p, b]
                        N[a, b] -= f * N[p, b]
        # L: the residual's change as a linear function of the encoder's, k_R = K0 + L k_A.
        for j in range(n):
            for a in range(m):
                s = 0.0
                for b in range(m):
                    s += AX[j, b] * N[b, a]
                AXN[j, a] = s
        for b in range(m):
            for a in range(m):
                xn, yn = 0.0, 0.0
                for c in range(m):
                    xn += X[b, c] * N[c, a]
                    yn += Y[b, c] * N[c, a]
                for i in range(n):
                    for j in range(n):
                        v = y[na + i * n + j] * xn - (g / d) * R[i, b] * AXN[j, a]
                        if i == j:
                            v -= theta * yn
                        L[i * m + a, j * m + b] = v
        for i in range(n):
            for a in range(m):
                r = i * m + a
                for col in range(na):
                    M[r, col] = 0.0
                for k in range(n):
                    f = g * y[na + k * n + i]
                    for col in range(na):
                        M[r, col] += f * L[k * m + a, col]
                    for c in range(m):
                        f = (g * g / d) * y[i * m + c] * R[k, a]
                        for col in range(na):
                            M[r, col] -= f * L[k * m + c, col]
                for b in range(m):
                    s = 0.0
                    for k in range(n):
                        s += R[k, b] * R[k, a]
                    M[r, i * m + b] -= (g * g / d) * s
                M[r, r] += d
        if dynamics == GRADIENT:
            for i in range(n):
                for a in range(m):
                    r = i * m + a
                    for b in range(m):
                        sy = 0.0  # (S Y^T)[b, a]
                        for c in range(m):
                            s = 0.0
                            for k in range(n):
                                s += y[k * m + b] * y[k * m + c]
                            sy += s * Y[a, c]
                        for col in range(na):
                            M[r, col] += (g * g / d) * sy * L[i * m + b, col]
                        M[r, i * m + b] += g * Z[b, a]
                        for j in range(n):
                            ay = 0.0  # (A Y^T)[j, a]
                            for c in range(m):
                                ay += y[j * m + c] * Y[a, c]
                            M[r, j * m + b] += (g * g / d) * R[i, b] * ay - g * y[na + i * n + j] * Y[a, b]
        for p in range(na):
            best = p
            for r in range(p + 1, na):
                if abs(M[r, p]) > abs(M[best, p]):
                    best = r
            pivot[p] = best
            if best != p:
                for c in range(na):
                    M[p, c], M[best, c] = M[best, c], M[p, c]
            if M[p, p] == 0.0:
                return False
            q = 1.0 / M[p, p]
            for r in range(p + 1, na):
                f = M[r, p] * q
                M[r, p] = f
                for c in range(p + 1, na):
                    M[r, c] -= f * M[p, c]
        return True

    @_part("solve", dynamics, n, m)
    def solve(y, Y, lam, kappa, R, g, N, L, M, pivot, AX, f, kR, out):
        """Solve ``(I - g J) out = f`` with what ``factor`` left."""
        n, m = sizes(R.shape[0], R.shape[1])
        na, nn = n * m, n * n
        d = 1.0 + g * lam
        t = na + nn
        for i in range(n):  # K0 = [(1/d) f_B A X - f_C Y / (1 + g kappa)] N
            for a in range(m):
                s = 0.0
                for b in range(m):
                    v = 0.0
                    for j in range(n):
                        v += f[na + i * n + j] * AX[j, b]
                    v /= d
                    if dynamics == EMA:
                        for c in range(m):
                            v -= f[t + i * m + c] * Y[c, b] / (1.0 + g * kappa)
                    s += v * N[b, a]
                kR[i * m + a] = s
        for i in range(n):
            for a in range(m):
                s = f[i * m + a]
                for j in range(n):
                    s -= (g / d) * f[na + j * n + i] * R[j, a] + g * y[na + j * n + i] * kR[j * m + a]
                    for b in range(m):
                        s += (g * g / d) * y[i * m + b] * R[j, a] * kR[j * m + b]
                if dynamics == GRADIENT:
                    for b in range(m):
                        fa, ks = 0.0, 0.0  # (f_B A)[i, b] and (K0 S)[i, b]
                        for j in range(n):
                            fa += f[na + i * n + j] * y[j * m + b]
                            for c in range(m):
                                ks += kR[i * m + c] * y[j * m + c] * y[j * m + b]
                        s += (g / d) * (fa - g * ks) * Y[a, b]
                out[i * m + a] = s
        for p in range(na):
            b = pivot[p]
            if b != p:
                out[p], out[b] = out[b], out[p]
        for r in range(1, na):
            s = out[r]
            for c in range(r):
                s -= M[r, c] * out[c]
            out[r] = s
        for r in range(na - 1, -1, -1):
            s = out[r]
            for c in range(r + 1, na):
                s -= M[r, c] * out[c]
            out[r] = s / M[r, r]
        for r in range(na):
            s = kR[r]
            for c in range(na):
                s += L[r, c] * out[c]
            kR[r] = s
        for i in range(n):
            for j in range(n):
                s = f[na + i * n + j]
                for a in range(m):
                    s -= g * (kR[i * m + a] * y[j * m + a] + R[i, a] * out[j * m + a])
                out[na + i * n + j] = s / d
        if dynamics == EMA:
            for k in range(na):
                out[t + k] = (f[t + k] + g * kappa * out[k]) / (1.0 + g * kappa)

    @_kernel("flow", dynamics, n, m)
    def run(n, states, X, Y, Z, lam, kappa, field_tol, rtol, atol, max_steps, max_time, norms, outcome, times, steps):
        n, m = sizes(n, X.shape[1])
        na, nn = n * m, n * n
        size = na + nn + (na if dynamics == EMA else 0)
        R = np.empty((n, m))
        dy = np.empty(size)
        trial = np.empty(size)
        f = np.empty(size)
        rhs = np.empty(size)
        ks = np.empty((6, size))
        kR = np.empty(na)
        N = np.empty((m, m))
        SX = np.empty((m, m))
        AX = np.empty((n, m))
        AXN = np.empty((n, m))
        L = np.empty((na, na))
        M = np.empty((na, na))
        pivot = np.empty(na, np.int64)
        R2 = np.empty((n, m))
        for w in range(states.shape[0]):
            y = states[w]
            x_, y_, z_, l_, k_ = X[w], Y[w], Z[w], lam[w], kappa[w]
            size_x, size_y = 0.0, 0.0  # the moments' sizes, for the rounding floor of the field
            for a in range(m):
                for b in range(m):
                    size_x += abs(x_[a, b])
                    size_y += abs(y_[a, b])
            t = 0.0
            code = UNFINISHED
            norm = np.sqrt(field(y, x_, y_, z_, l_, k_, R, dy))
            square = 0.0
            for k in range(size):
                square += y[k] * y[k]
            h = 1e-2 * (atol + np.sqrt(square)) / (norm + atol)
            previous = 1e-4
            count = 0
            while True:
                scale = np.sqrt(square)
                floor = 4.0 * _EPS * scale * (l_ + scale * (size_x * scale + size_y))
                if not scale < ESCAPE or not np.isfinite(norm):  # first, for the floor of a huge state is huge
                    code = DIVERGED
                    break
                if norm <= max(field_tol, floor):
                    code = CONVERGED
                    break
                if count >= max_steps or t >= max_time:
                    break
                if t + h > max_time:
                    h = max_time - t
                accepted = False
                while not accepted and count < max_steps:
                    count += 1
                    g = gamma * h
                    if not factor(y, x_, y_, z_, l_, k_, R, g, N, L, M, pivot, AX, AXN, SX):
                        h *= 0.5
                        continue
                    for s in range(6):
                        if s == 0:
                            for k in range(size):
                                f[k] = dy[k]
                        else:
                            for k in range(size):
                                v = y[k]
                                for q in range(s):
                                    v += A_[s, q] * ks[q, k]
                                trial[k] = v
                            field(trial, x_, y_, z_, l_, k_, R2, f)
                        for k in range(size):
                            v = h * f[k]
                            for q in range(s):
                                v += C_[s, q] * ks[q, k]
                            rhs[k] = gamma * v
                        solve(y, y_, l_, k_, R, g, N, L, M, pivot, AX, rhs, kR, ks[s])
                    error = 0.0
                    moved = 0.0
                    for k in range(size):
                        error += ks[5, k] * ks[5, k]
                        trial[k] += ks[5, k]
                        moved += trial[k] * trial[k]
                    error = np.sqrt(error) / (atol + rtol * max(scale, np.sqrt(moved)))
                    if error <= 1.0:
                        accepted = True
                        t += h
                        square = moved
                        for k in range(size):
                            y[k] = trial[k]
                        norm = np.sqrt(field(y, x_, y_, z_, l_, k_, R, dy))
                        error = max(error, 1e-10)
                        h *= min(10.0, max(0.2, 0.9 * error**-0.2 * previous**0.02))
                        previous = error
                    elif error == error:
                        h *= max(0.1, 0.9 * error**-0.25)
                    else:
                        h *= 0.1
                    if h < 1e-14 * (1e-300 + t):
                        count = max_steps
            norms[w] = norm
            outcome[w] = code
            times[w] = t
            steps[w] = count

    return run


@_made_once
def iteration_kernel(dynamics: int, n: int, m: int) -> Any:
    """Compile the discrete algorithm to rest of a slice of trials, for one dynamics and one size or :data:`ANY`."""
    sizes, field = sizes_part(n, m), field_part(dynamics, n, m)

    @_kernel("iteration", dynamics, n, m)
    def run(n, states, X, Y, Z, lam, step, alpha, field_tol, max_steps, norms, outcome, steps):
        n, m = sizes(n, X.shape[1])
        na, nn = n * m, n * n
        size = na + nn + (na if dynamics == EMA else 0)
        R = np.empty((n, m))
        dy = np.empty(size)
        t = na + nn
        for w in range(states.shape[0]):
            y = states[w]
            x_, y_, z_, l_, h, mom = X[w], Y[w], Z[w], lam[w], step[w], alpha[w]
            rate = (1.0 - mom) / h
            code = UNFINISHED
            count = 0
            while True:
                norm = np.sqrt(field(y, x_, y_, z_, l_, rate, R, dy))
                if norm <= field_tol:
                    code = CONVERGED
                    break
                if not norm < ESCAPE:
                    code = DIVERGED
                    break
                if count >= max_steps:
                    break
                count += 1
                for k in range(na + nn):
                    y[k] += h * dy[k]
                if dynamics == EMA:  # the teacher follows the student's new weights
                    for k in range(na):
                        y[t + k] = mom * y[t + k] + (1.0 - mom) * y[k]
            norms[w] = norm
            outcome[w] = code
            steps[w] = count

    return run
