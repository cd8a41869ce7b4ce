"""A compiled path follower for T^2 - G^T T G + Q = 0 along straight lines of complex problems (G, Q)."""

import numba as nb
import numpy as np
from numba.extending import register_jitable

# The kernel is kept on disk; numba would not find it again if it called compiled functions, hence register_jitable.


@register_jitable(error_model="numpy")
def _solve(J: np.ndarray, r: np.ndarray) -> None:
    # Gaussian elimination with row pivoting, in place; the solution is left in r.
    N = len(r)
    for c in range(N):
        best = c
        for i in range(c + 1, N):
            if abs(J[i, c]) > abs(J[best, c]):
                best = i
        if best != c:
            for j in range(c, N):
                J[c, j], J[best, j] = J[best, j], J[c, j]
            r[c], r[best] = r[best], r[c]
        if J[c, c] == 0:  # a singular system: the huge answer makes the caller reject the step
            J[c, c] = 1e-100
        inverse = 1.0 / J[c, c]
        for i in range(c + 1, N):
            factor = J[i, c] * inverse
            for j in range(c + 1, N):
                J[i, j] -= factor * J[c, j]
            r[i] -= factor * r[c]
    for c in range(N - 1, -1, -1):
        for j in range(c + 1, N):
            r[c] -= J[c, j] * r[j]
        r[c] /= J[c, c]


@register_jitable(error_model="numpy")
def _spread(z: np.ndarray, rows: np.ndarray, columns: np.ndarray, T: np.ndarray) -> None:
    for a in range(len(rows)):
        T[rows[a], columns[a]] = z[a]
        T[columns[a], rows[a]] = z[a]


@register_jitable(error_model="numpy")
def _product(L: np.ndarray, T: np.ndarray, G: np.ndarray, W: np.ndarray, P: np.ndarray) -> None:
    # P = L^T T G
    m = len(T)
    for i in range(m):
        for j in range(m):
            W[i, j] = 0.0
            for k in range(m):
                W[i, j] += T[i, k] * G[k, j]
    for i in range(m):
        for j in range(m):
            P[i, j] = 0.0
            for k in range(m):
                P[i, j] += L[k, i] * W[k, j]


@register_jitable(error_model="numpy")
def _system(
    z: np.ndarray,
    T: np.ndarray,
    G: np.ndarray,
    Q: np.ndarray,
    patch: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    W: np.ndarray,
    P: np.ndarray,
    J: np.ndarray,
    r: np.ndarray,
) -> None:
    # Minus the homogeneous equation T^2 - h G^T T G + h^2 Q in r, its derivative in J; the patch keeps z's size.
    N = len(rows)
    h = z[N]
    _spread(z, rows, columns, T)
    _product(G, T, G, W, P)
    for a in range(N):
        i, j = rows[a], columns[a]
        square = 0.0j
        for k in range(len(T)):
            square += T[i, k] * T[k, j]
        r[a] = -(square - h * P[i, j] + h * h * Q[i, j])
        J[a, N] = -P[i, j] + 2 * h * Q[i, j]
        for b in range(N):
            k, n = rows[b], columns[b]
            value = -h * G[k, i] * G[n, j]
            if n == j:
                value += T[i, k]
            if k == i:
                value += T[n, j]
            if k != n:
                value -= h * G[n, i] * G[k, j]
                if k == j:
                    value += T[i, n]
                if n == i:
                    value += T[k, j]
            J[a, b] = value
    r[N] = 0.0
    for b in range(N + 1):
        J[N, b] = patch[b]


@nb.njit(nogil=True, cache=True, error_model="numpy")
def follow(
    solutions: np.ndarray,
    G0: np.ndarray,
    Q0: np.ndarray,
    G1: np.ndarray,
    Q1: np.ndarray,
    max_steps: int,
) -> np.ndarray:
    """Follow each solution from (G0[k], Q0[k]) to (G1[k], Q1[k]), in place; return which arrived.

    In homogeneous coordinates z = (T, h), the solution being T / h, since paths often pass near infinity. A step is a
    Runge-Kutta prediction of order four and two Newton corrections, accepted if these are small.
    """
    count, m = solutions.shape[0], solutions.shape[1]
    N = m * (m + 1) // 2
    rows, columns = np.empty(N, np.int64), np.empty(N, np.int64)
    a = 0
    for i in range(m):
        for j in range(i, m):
            rows[a], columns[a] = i, j
            a += 1
    J = np.empty((N + 1, N + 1), np.complex128)
    vectors = np.empty((7, N + 1), np.complex128)
    r, z, stage, slope, total, new, patch = (
        vectors[0],
        vectors[1],
        vectors[2],
        vectors[3],
        vectors[4],
        vectors[5],
        vectors[6],
    )
    space = np.empty((8, m, m), np.complex128)
    G, dG, Q, dQ, T, W, P, R = space[0], space[1], space[2], space[3], space[4], space[5], space[6], space[7]
    arrived = np.zeros(count, np.bool_)
    weight, place = np.array([1.0, 2.0, 2.0, 1.0]) / 6, np.array([0.0, 0.5, 0.5, 1.0])
    for p in range(count):
        t, step = 0.0, 0.02
        dG[:] = G1[p] - G0[p]
        dQ[:] = Q1[p] - Q0[p]
        for b in range(N):
            z[b] = solutions[p, rows[b], columns[b]]
        z[N] = 1.0
        for _ in range(max_steps):
            norm = np.sqrt(np.sum(np.abs(z) ** 2))
            z /= norm
            patch[:] = np.conj(z)
            last = step >= 1 - t
            if last:
                step = 1 - t
            total[:] = 0
            slope[:] = 0
            for s in range(4):
                stage[:] = z + place[s] * step * slope
                G[:] = G0[p] + (t + place[s] * step) * dG
                Q[:] = Q0[p] + (t + place[s] * step) * dQ
                _system(stage, T, G, Q, patch, rows, columns, W, P, J, slope)
                _product(dG, T, G, W, P)
                _product(G, T, dG, W, R)
                h = stage[N]
                for b in range(N):
                    i, j = rows[b], columns[b]
                    slope[b] = h * (P[i, j] + R[i, j]) - h * h * dQ[i, j]
                _solve(J, slope)
                total += weight[s] * slope
            new[:] = z + step * total
            G[:] = G0[p] + (t + step) * dG
            Q[:] = Q0[p] + (t + step) * dQ
            first = second = 0.0
            for _ in range(2):
                _system(new, T, G, Q, patch, rows, columns, W, P, J, r)
                _solve(J, r)
                new += r
                first = second
                second = np.sqrt(np.sum(np.abs(r) ** 2))
            if first < 1e-5 and second < 1e-8:
                z[:] = new
                t = 1.0 if last else t + step
                if first < 1e-7:
                    step *= 2
            else:
                step /= 2
            if t == 1.0:
                arrived[p] = z[N] != 0
                break
            if not step > 1e-12:
                break
        for b in range(N):
            if z[N] == 0:
                break
            solutions[p, rows[b], columns[b]] = z[b] / z[N]
            solutions[p, columns[b], rows[b]] = z[b] / z[N]
    return arrived
