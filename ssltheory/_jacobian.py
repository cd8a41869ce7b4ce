"""The entries of the Jacobian of the linear fields, written row after row in compiled code."""

import numpy as np
from numba import njit

SG, GRADIENT, EMA = 0, 1, 2


@njit(cache=True, error_model="numpy")
def fill(
    J: np.ndarray,
    mode: int,
    A: np.ndarray,
    B: np.ndarray,
    C: np.ndarray,
    X: np.ndarray,
    Y: np.ndarray,
    Z: np.ndarray,
    lam: float,
    kappa: float,
) -> None:
    """Write J (K, d, d) at the states A (K, n, m), B (K, n, n), C (K, n, m); every entry is written."""
    states, n, m = A.shape
    nm, nn = n * m, n * n
    d = J.shape[1]
    Yt = np.ascontiguousarray(Y.T)
    for s in range(states):
        a, b = A[s], B[s]
        bt = np.ascontiguousarray(b.T)
        AX = a @ X
        XAt = np.ascontiguousarray(AX.T)
        AYt = a @ Yt
        Rt = np.ascontiguousarray((b @ AX - C[s] @ Y).T)
        BtB = bt @ b
        AXAt = AX @ a.T
        for i in range(n):
            for j in range(m):
                row = J[s, i * m + j]
                x, y, xa = X[j], Yt[j], XAt[j]
                c = 0
                if mode == EMA:
                    for k in range(n):
                        square, part = BtB[i, k], row[c : c + m]
                        for p in range(m):
                            part[p] = -square * x[p]
                        c += m
                else:
                    for k in range(n):
                        square, single, part = BtB[i, k], bt[i, k], row[c : c + m]
                        for p in range(m):
                            part[p] = single * y[p] - square * x[p]
                        c += m
                if mode == GRADIENT:
                    for k in range(n):
                        for p in range(m):
                            row[k * m + p] += b[i, k] * Y[j, p]
                    for p in range(m):
                        row[i * m + p] -= Z[j, p]
                row[i * m + j] -= lam
                for k in range(n):
                    single, part = bt[i, k], row[c : c + n]
                    for p in range(n):
                        part[p] = -single * xa[p]
                    part[i] -= Rt[j, k]
                    c += n
                if mode == GRADIENT:
                    for p in range(n):
                        # dB A Y^T: row (i, j) meets the columns (i, p).
                        for q in range(m):
                            row[nm + i * n + p] += a[p, q] * Y[j, q]
                if mode == EMA:
                    for k in range(n):
                        single, part = bt[i, k], row[c : c + m]
                        for p in range(m):
                            part[p] = single * y[p]
                        c += m
            for j in range(n):
                row = J[s, nm + i * n + j]
                ax, ay = AX[j], AYt[j]
                c = 0
                for k in range(n):
                    single, part = b[i, k], row[c : c + m]
                    for p in range(m):
                        part[p] = -single * ax[p]
                    c += m
                for p in range(m):
                    row[j * m + p] -= Rt[p, i]
                row[nm:d] = 0.0
                base = nm + nn + i * m if mode == EMA else i * m
                if mode == EMA:
                    for p in range(m):
                        row[base + p] = ay[p]
                else:
                    for p in range(m):
                        row[base + p] += ay[p]
                for p in range(n):
                    row[nm + i * n + p] = -AXAt[j, p]
                row[nm + i * n + j] -= lam
        if mode == EMA:
            for r in range(nm):
                row = J[s, nm + nn + r]
                row[:] = 0.0
                row[r] = kappa
                row[nm + nn + r] = -kappa
