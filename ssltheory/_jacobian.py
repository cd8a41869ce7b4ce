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
    for s in range(states):
        a, b = A[s], B[s]
        AX = a @ X
        CY = C[s] @ Y
        R = b @ AX - CY
        BtB = b.T @ b
        AXAt = AX @ a.T
        for i in range(n):
            for j in range(m):
                row = J[s, i * m + j]
                c = 0
                for k in range(n):
                    square, single = -BtB[i, k], b[k, i]
                    if mode == EMA:
                        for p in range(m):
                            row[c + p] = square * X[j, p]
                            row[nm + nn + c + p] = single * Y[p, j]
                    else:
                        for p in range(m):
                            row[c + p] = square * X[j, p] + single * Y[p, j]
                    if mode == GRADIENT:
                        for p in range(m):
                            row[c + p] += b[i, k] * Y[j, p]
                    c += m
                if mode == GRADIENT:
                    for p in range(m):
                        row[i * m + p] -= Z[j, p]
                row[i * m + j] -= lam
                c = nm
                for k in range(n):
                    single = -b[k, i]
                    for p in range(n):
                        row[c + p] = single * AX[p, j]
                    row[c + i] -= R[k, j]
                    c += n
                if mode == GRADIENT:
                    for p in range(n):
                        # dB A Y^T: row (i, j) meets the columns (i, p).
                        acc = 0.0
                        for q in range(m):
                            acc += a[p, q] * Y[j, q]
                        row[nm + i * n + p] += acc
            for j in range(n):
                row = J[s, nm + i * n + j]
                c = 0
                for k in range(n):
                    single = -b[i, k]
                    for p in range(m):
                        row[c + p] = single * AX[j, p]
                    c += m
                for p in range(m):
                    row[j * m + p] -= R[i, p]
                if mode == EMA:
                    row[nm + nn :] = 0.0
                    for p in range(m):
                        row[nm + nn + i * m + p] = 0.0
                        for q in range(m):
                            row[nm + nn + i * m + p] += Y[p, q] * a[j, q]
                else:
                    for p in range(m):
                        acc = 0.0
                        for q in range(m):
                            acc += Y[p, q] * a[j, q]
                        row[i * m + p] += acc
                row[nm : nm + nn] = 0.0
                for p in range(n):
                    row[nm + i * n + p] = -AXAt[j, p]
                row[nm + i * n + j] -= lam
        if mode == EMA:
            for r in range(nm):
                row = J[s, nm + nn + r]
                row[:] = 0.0
                row[r] = kappa
                row[nm + nn + r] = -kappa
