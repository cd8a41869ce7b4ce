"""How many solutions has the equation of full-rank equilibria, and which are they all?

In T = S + lam X^{-1} the equation is T^2 - G^T T G + Q = 0, G = Y X^{-1}, Q = lam G^T X^{-1} G: m (m + 1) / 2
quadrics in as many unknowns, and G and Q are arbitrary. The number of complex solutions for generic G and Q is found
exactly, over a prime field, as the dimension of the quotient ring (:func:`count_solutions`), and numerically, by
following solutions round loops of problems (:func:`monodromy`). All solutions of one problem come from those of a
generic one by a homotopy (:func:`all_solutions`).
"""

import argparse
import time
from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement, pairwise, product
from typing import Any

import numpy as np
from jaxtyping import Bool, Complex, Float, Int

from ssltheory import _validate
from ssltheory.equilibria import critical_weight_decay, gram_residual

KNOWN_COUNTS = {1: 2, 2: 6, 3: 24, 4: 124, 5: 824}
"""The number of complex solutions of a generic problem, as :func:`count_solutions` finds it."""
PRIME = 32003


def bezout(m: int) -> int:
    """Bezout's bound on the number of solutions of m (m + 1) / 2 quadrics in as many unknowns, 2^{m(m+1)/2}."""
    m = _validate.count("m", m)
    return 2 ** (m * (m + 1) // 2)


def points_at_infinity(
    G: Float[np.ndarray, "2 2"],
) -> list[tuple[Complex[np.ndarray, " 2"], complex]]:
    """The two solutions at infinity for m = 2, T = v v^T with v = (1, +/- i), and the determinant at each.

    It is that of the derivative of T^2 - h G^T T G + h^2 Q at h = 0 by (T_12, T_22, h), and is -2 (v^T G v)^2; where it
    is not zero the point counts once among Bezout's eight.
    """
    G = _validate.shaped("G", G, (2, 2))
    out = []
    for sign in (1j, -1j):
        v = np.array([1, sign])
        T = np.outer(v, v)
        moves = [np.array([[0, 1], [1, 0]]), np.array([[0, 0], [0, 1]])]
        columns = [_pack(T @ H + H @ T) for H in moves] + [_pack(-G.T @ T @ G)]
        out.append((v, complex(np.linalg.det(np.stack(columns, axis=1)))))
    return out


# --- Exact: the dimension of the quotient ring over a prime field ---------------------------------------------------


@dataclass(frozen=True, eq=False)
class QuotientRing:
    """The polynomials in the N entries of T modulo the equations, over the field with ``prime`` elements.

    ``dimension`` is the number of solutions over the algebraic closure, with multiplicity; ``by_degree`` counts the
    standard monomials, a basis, by degree; ``multiplication`` (N, dimension, dimension) says how multiplying by each
    unknown acts on that basis (row vectors); ``distinct`` is the number of distinct solutions.
    """

    m: int
    prime: int
    by_degree: tuple[int, ...]
    multiplication: Int[np.ndarray, "N d d"]

    @property
    def dimension(self) -> int:
        """The number of solutions with multiplicity."""
        return int(self.multiplication.shape[1])

    @property
    def distinct(self) -> int:
        """The number of distinct solutions.

        That is the number of values of a random linear form on them, and so (Hermite) the rank of the Hankel matrix of
        the traces of its powers.
        """
        M, p, d = self.multiplication, self.prime, self.dimension
        form = np.tensordot(np.random.default_rng(1).integers(1, p, len(M)), M, 1) % p
        traces, power = [], np.eye(d, dtype=np.int64)
        for _ in range(2 * d):
            traces.append(int(np.trace(power) % p))
            power = _product(power, form, p)
        hankel = np.array([traces[i : i + d] for i in range(d)])
        return len(_reduce(hankel, p)[1])


def _product(a: np.ndarray, b: np.ndarray, p: int) -> np.ndarray:
    # p^2 times the inner dimension is far below 2^53, so products in floating point are exact.
    return np.asarray(np.rint(a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64) % p)


def _reduce(M: np.ndarray, p: int) -> tuple[np.ndarray, list[int]]:
    """The reduced row echelon form modulo p, without zero rows, and its pivot columns."""
    M = M[M.any(axis=1)] % p
    pivots: list[int] = []
    rank = 0
    for column in range(M.shape[1]):
        if rank == len(M):
            break
        hits = np.flatnonzero(M[rank:, column])
        if not hits.size:
            continue
        k = rank + hits[0]
        if k != rank:
            M[[rank, k]] = M[[k, rank]]
        M[rank, column:] = M[rank, column:] * pow(int(M[rank, column]), p - 2, p) % p
        others = np.flatnonzero(M[:, column])
        others = others[others != rank]
        M[others, column:] = (M[others, column:] - np.outer(M[others, column], M[rank, column:])) % p
        pivots.append(column)
        rank += 1
    return M[:rank], pivots


def _chunked(rows: np.ndarray, p: int, known: np.ndarray | None = None) -> tuple[np.ndarray, list[int]]:
    """Reduce many rows in slices, each first reduced by what is known, so that little is eliminated twice."""
    done, pivots = (np.zeros((0, rows.shape[1]), np.int64), []) if known is None else _reduce(known, p)
    for start in range(0, len(rows), 400):
        piece = rows[start : start + 400]
        piece = (piece - _product(piece[:, pivots], done, p)) % p if pivots else piece
        piece = piece[piece.any(axis=1)]
        if len(piece):
            new, _ = _reduce(piece, p)
            done, pivots = _reduce(np.vstack([done, new]), p)
    return done, pivots


def quotient_ring(
    m: int, *, seed: int = 0, prime: int = PRIME, G: Int[np.ndarray, "m m"] | None = None
) -> QuotientRing:
    """The quotient ring of the equation with random G and Q over the field with ``prime`` elements.

    ``G`` may be given as an integer matrix; Q is random.

    Degree by degree: a monomial x_k e is rewritten through the normal form of e, in every way in which it can be
    split; the ways must agree, and what they differ by is a new relation. Relations that fall into a lower degree are
    multiplied by the unknowns again. When no new standard monomial is left and the multiplication matrices commute and
    satisfy the equations, they present the quotient ring (a border basis; Mourrain 1999). Raises ``ValueError`` for
    m > 5 and a modulus that is not an odd prime below 2^20, ``RuntimeError`` if the random problem has infinitely many
    solutions.
    """
    m = _validate.count("m", m)
    if m > 5:
        raise ValueError(
            f"m = {m} is too large: {m * (m + 1) // 2} unknowns, up to {bezout(m):,} solutions by Bezout's bound;"
            " m = 4 takes a second, m = 5 eight minutes, and m = 6 would take days"
        )
    prime = _validate.count("prime", prime, least=3)
    if prime >= 2**20 or any(prime % k == 0 for k in range(2, int(prime**0.5) + 1)):
        raise ValueError(f"prime must be an odd prime below 2^20; got {prime}")
    rng = np.random.default_rng(seed)
    drawn, Q = rng.integers(0, prime, (2, m, m))
    G = drawn if G is None else _validate.shaped("G", G, (m, m)).astype(np.int64) % prime
    quadrics = _quadrics(m, G, np.triu(Q) + np.triu(Q, 1).T)
    return _close(m, quadrics, prime)


Exponent = tuple[int, ...]


def _quadrics(m: int, G: np.ndarray, Q: np.ndarray) -> list[dict[Exponent, int]]:
    """The entries of T^2 - G^T T G + Q as polynomials; a monomial is the sorted tuple of its unknowns."""
    rows, columns = np.triu_indices(m)
    index = np.zeros((m, m), int)
    index[rows, columns] = index[columns, rows] = np.arange(len(rows))
    out = []
    for i, j in zip(rows, columns, strict=True):
        polynomial: dict[Exponent, int] = {(): int(Q[i, j])}
        for k in range(m):
            key = tuple(sorted((int(index[i, k]), int(index[k, j]))))
            polynomial[key] = polynomial.get(key, 0) + 1
        for a in range(m):
            for b in range(m):
                key = (int(index[a, b]),)
                polynomial[key] = polynomial.get(key, 0) - int(G[a, i]) * int(G[b, j])
        out.append(polynomial)
    return out


def _close(m: int, quadrics: list[dict[Exponent, int]], p: int) -> QuotientRing:
    N = len(quadrics)
    basis: list[Exponent] = [()] + [(k,) for k in range(N)]
    normal: dict[Exponent, np.ndarray] = dict(zip(basis, np.eye(N + 1, dtype=np.int64), strict=True))
    for degree in range(2, 2 * N + 2):
        top = [tuple(sorted((*b, k))) for b in basis if len(b) == degree - 1 for k in range(N)]
        top = sorted(set(top), reverse=True)
        words = top + basis
        place = {e: k for k, e in enumerate(words)}
        shifts = []
        for k in range(N):
            shift = np.zeros((len(basis), len(words)), np.int64)
            for row, b in enumerate(basis):
                e = tuple(sorted((*b, k)))
                if len(e) == degree:
                    shift[row, place[e]] = 1
                else:
                    shift[row, len(top) :] = normal[e]
            shifts.append(shift)
        # All ways to write each monomial of this degree.
        monomials = list(combinations_with_replacement(range(N), degree))
        images: dict[Exponent, list[np.ndarray]] = {e: [] for e in monomials}
        for k in range(N):
            those = [e for e in monomials if k in e]
            left = np.array([normal[_without(e, k)] for e in those])
            for e, row in zip(those, _product(left, shifts[k], p), strict=True):
                images[e].append(row)
        relations = []
        chosen: dict[Exponent, np.ndarray] = {}
        for e, ways in images.items():
            chosen[e] = ways[0]
            relations += [way - ways[0] for way in ways[1:]]
        if degree == 2:
            for polynomial in quadrics:
                relation = np.zeros(len(words), np.int64)
                for e, c in polynomial.items():
                    relation[place[e]] += c
                relations.append(relation % p)
        reduced, pivots = _chunked(np.array(relations) % p, p)
        while True:
            low = reduced[[c >= len(top) for c in pivots]][:, len(top) :]
            if not len(low):
                break
            before = len(pivots)
            reduced, pivots = _chunked(np.vstack([_product(low, shift, p) for shift in shifts]), p, reduced)
            if len(pivots) == before:
                break
        keep = np.setdiff1d(np.arange(len(words)), pivots)
        project = np.zeros((len(words), len(keep)), np.int64)
        project[keep, np.arange(len(keep))] = 1
        if pivots:
            project[pivots] = -reduced[:, keep] % p
        old = list(normal.items())
        lifted = _product(np.array([row for _, row in old]), project[len(top) :], p)
        fresh = _product(np.array(list(chosen.values())), project, p)
        normal = {e: row for (e, _), row in zip(old, lifted, strict=True)}
        normal |= dict(zip(chosen, fresh, strict=True))
        basis = [words[k] for k in keep]
        if all(len(b) < degree for b in basis):
            M = np.array([[normal[tuple(sorted((*b, k)))] for b in basis] for k in range(N)])
            if _is_presentation(M, quadrics, p):
                by_degree = np.bincount([len(b) for b in basis])
                return QuotientRing(m, p, tuple(int(c) for c in by_degree), M)
    raise RuntimeError("the random problem has infinitely many solutions over this field; take another seed or prime")


def _without(e: Exponent, k: int) -> Exponent:
    place = e.index(k)
    return e[:place] + e[place + 1 :]


def _is_presentation(M: np.ndarray, quadrics: list[dict[Exponent, int]], p: int) -> bool:
    for j in range(len(M)):
        for k in range(j):
            if ((_product(M[j], M[k], p) - _product(M[k], M[j], p)) % p).any():
                return False
    identity = np.eye(M.shape[1], dtype=np.int64)
    for polynomial in quadrics:
        total = np.zeros_like(identity)
        for e, c in polynomial.items():
            term = identity
            for k in e:
                term = _product(term, M[k], p)
            total = (total + (c % p) * term) % p
        if total.any():
            return False
    return True


def count_solutions(m: int, *, seed: int = 0, prime: int = PRIME) -> int:
    """The exact number of solutions, with multiplicity, of the equation with random coefficients modulo ``prime``.

    That is the dimension of :func:`quotient_ring`: 2, 6, 24 and 124 for m = 1 to 4, in a second, and 824 for m = 5, in
    minutes, whatever the seed and the prime but for rare accidents. Raises ``ValueError`` for m > 5, saying the bound
    and the cost.
    """
    return quotient_ring(m, seed=seed, prime=prime).dimension


# --- Numerical: loops of problems, and a homotopy from a generic one -------------------------------------------------


@dataclass(frozen=True, eq=False)
class Start:
    """A generic complex problem (G, Q) with all its solutions T, from which those of others are reached.

    ``loops`` is the number of loops of problems that were followed.
    """

    G: Complex[np.ndarray, "m m"]
    Q: Complex[np.ndarray, "m m"]
    T: Complex[np.ndarray, "K m m"]
    loops: int


def _pack(T: np.ndarray) -> np.ndarray:
    rows, columns = np.triu_indices(T.shape[-1])
    return np.asarray(T[..., rows, columns])


def _unpack(v: np.ndarray, m: int) -> np.ndarray:
    rows, columns = np.triu_indices(m)
    T = np.zeros((*v.shape[:-1], m, m), v.dtype)
    T[..., rows, columns] = v
    T[..., columns, rows] = v
    return T


@cache
def _units(m: int) -> np.ndarray:
    return _unpack(np.eye(m * (m + 1) // 2), m)


def _equation(T: np.ndarray, G: np.ndarray, Q: np.ndarray) -> np.ndarray:
    return _pack(T @ T - G.mT @ T @ G + Q)


def _derivative(T: np.ndarray, G: np.ndarray) -> np.ndarray:
    units = _units(T.shape[-1])
    T, G = T[..., None, :, :], G[..., None, :, :]
    return np.swapaxes(_pack(T @ units + units @ T - G.mT @ units @ G), -1, -2)


def _newton_step(T: np.ndarray, G: np.ndarray, Q: np.ndarray) -> np.ndarray:
    step = np.linalg.solve(_derivative(T, G), -_equation(T, G, Q)[..., None])[..., 0]
    return _unpack(step, T.shape[-1])


def _track(T: np.ndarray, *ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Follow solutions T (K, m, m) of (G0, Q0) along straight lines to (G1, Q1), all (K, m, m); and which arrived."""
    from ssltheory._paths import follow

    T = np.array(T, dtype=np.complex128)
    G0, Q0, G1, Q1 = (np.ascontiguousarray(M, dtype=np.complex128) for M in ends)
    arrived = follow(T, G0, Q0, G1, Q1, 20_000)
    size = np.abs(T).max(axis=(1, 2), initial=0.0)
    arrived &= size < 1e10  # further out the squares swallow all else
    T[~arrived] = 0.0
    return T, arrived


def _polish(T: np.ndarray, G: np.ndarray, Q: np.ndarray, steps: int = 4) -> np.ndarray:
    for _ in range(steps):
        try:
            move = _newton_step(T, G, Q)
        except np.linalg.LinAlgError:
            return T
        better = np.linalg.norm(_equation(T + move, G, Q), axis=-1) <= np.linalg.norm(_equation(T, G, Q), axis=-1)
        T = np.where(better[..., None, None], T + move, T)
    return T


def _distinct(T: np.ndarray, tol: float = 1e-7) -> np.ndarray:
    """The index of the first of each group of coinciding matrices."""
    flat = T.reshape(len(T), -1)
    kept: list[int] = []
    for k, v in enumerate(flat):
        if not kept or np.linalg.norm(flat[kept] - v, axis=1).min() > tol * (1 + np.linalg.norm(v)):
            kept.append(k)
    return np.array(kept, dtype=int)


def _random_problem(m: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    G, Q = (rng.normal(size=(m, m)) + 1j * rng.normal(size=(m, m)) for _ in range(2))
    return G / np.sqrt(2), (Q + Q.T) / 2


def monodromy(m: int, *, seed: int = 0, quiet_loops: int = 20, max_loops: int = 400) -> Start:
    """Find all solutions of one generic complex problem by following one of them round loops of problems.

    A random T solves the problem with random G and Q = G^T T G - T^2. A loop leads through two random problems back to
    (G, Q) and permutes its solutions, so that known ones turn into unknown ones. The search does not know how many
    there are: it ends after ``quiet_loops`` loops that bring nothing new. Raises ``ValueError`` for m > 4.
    """
    m = _validate.count("m", m)
    if m > 4:
        raise ValueError(f"m = {m} is too large: up to {bezout(m):,} solutions by Bezout's bound; m = 4 takes a minute")
    rng = np.random.default_rng(seed)
    G, T = _random_problem(m, rng)
    Q = G.T @ T @ G - T @ T
    known, quiet, loops = T[None], 0, 0
    while quiet < _validate.count("quiet_loops", quiet_loops) and loops < max_loops:
        corners = [(G, Q), _random_problem(m, rng), _random_problem(m, rng), (G, Q)]
        moved, loops = known, loops + 1
        for (G0, Q0), (G1, Q1) in pairwise(corners):
            each = (np.broadcast_to(M, moved.shape) for M in (G0, Q0, G1, Q1))
            moved, arrived = _track(moved, *each)
            moved = moved[arrived]
        moved = _polish(moved, np.broadcast_to(G, moved.shape), np.broadcast_to(Q, moved.shape))
        both = np.concatenate([known, moved])
        both = both[_distinct(both)]
        quiet = quiet + 1 if len(both) == len(known) else 0
        known = both
    return Start(G, Q, known, loops)


@dataclass(frozen=True, eq=False)
class Solutions:
    """Every complex solution S of the equilibrium equation, up to those that the homotopy lost.

    ``S`` (K, m, m) complex; ``residuals`` (K,) relative, |gram_residual| over the size of its terms; ``real`` and
    ``positive_definite`` are masks; ``separation`` is the least relative distance between two; ``expected`` the number
    for a generic problem. ``message`` says whether all were found, and if not why that may be.
    """

    S: Complex[np.ndarray, "K m m"]
    residuals: Float[np.ndarray, " K"]
    real: Bool[np.ndarray, " K"]
    positive_definite: Bool[np.ndarray, " K"]
    separation: float
    expected: int
    message: str

    def __len__(self) -> int:
        """Return the number of solutions found."""
        return len(self.S)

    @property
    def complete(self) -> bool:
        """Whether as many distinct solutions were found as a generic problem has."""
        return len(self.S) == self.expected


@cache
def start_system(m: int) -> Start:
    """The generic problem from which :func:`all_solutions` starts: by :func:`monodromy`, m = 4 from the record."""
    if m < 4:
        for seed in range(5):
            found = monodromy(m, seed=seed)
            if len(found.T) == KNOWN_COUNTS[m]:
                return found
        raise RuntimeError(f"no complete start system for m = {m}")
    from ssltheory.records import read_record

    data = read_record("equilibrium_count").data["start"]
    G, Q, T = (np.array(data[k][0]) + 1j * np.array(data[k][1]) for k in ("G", "Q", "T"))
    return Start(G.reshape(m, m), Q.reshape(m, m), _unpack(T, m), data["loops"])


def all_solutions(X: Float[np.ndarray, "m m"], Y: Float[np.ndarray, "m m"], lam: float) -> Solutions:
    """Every complex solution S of (X S + lam)(S X + lam) = Y^T S Y, for m <= 4, by homotopy from a generic problem.

    The paths run over a straight line of problems (G, Q) from a random complex one, which avoids the problems with
    double solutions with probability one. Some pass so near to infinity that they are lost; then all are followed again
    over a random corner. Each end is polished by Newton's method. Real solutions are exactly the positive definite
    ones. Raises ``ValueError`` for m > 4, saying the number of solutions.
    """
    X, Y, lam = _validate.problem(X, Y, lam)
    m = len(X)
    if m > 4:
        raise ValueError(
            f"m = {m} is too large to enumerate: up to {bezout(m):,} solutions by Bezout's bound (124 at m = 4);"
            " largest_equilibrium finds the one that matters for any m"
        )
    return _solve_many(X[None], Y[None], np.array([lam]))[0]


def _solve_many(X: np.ndarray, Y: np.ndarray, lam: np.ndarray) -> list[Solutions]:
    start, count, m = start_system(X.shape[-1]), len(X), X.shape[-1]
    inverse = np.linalg.inv(X)
    G = Y @ inverse
    # Units in which |G| = sqrt m: T = g^2 T', Q = g^4 Q'.
    g = np.maximum(np.linalg.norm(G, axis=(1, 2)) / np.sqrt(m), 1e-300)[:, None, None]
    unit = G / g
    Q = lam[:, None, None] * unit.mT @ inverse @ unit / g**2
    K = len(start.T)
    G1, Q1 = (np.repeat(M, K, axis=0).astype(complex) for M in (unit, Q))
    T0 = np.tile(start.T, (count, 1, 1))
    G0, Q0 = (np.broadcast_to(M, T0.shape) for M in (start.G, start.Q))
    T, arrived = _track(T0, G0, Q0, G1, Q1)
    T = _polish(T, G1, Q1)
    found = [T[c * K : (c + 1) * K][arrived[c * K : (c + 1) * K]] for c in range(count)]
    found = [ends[_distinct(ends)] for ends in found]
    rng = np.random.default_rng(17)
    for c in range(count):
        for _ in range(12):  # lost paths, and ends that coincide: once more over a corner
            if len(found[c]) >= K:
                break
            corner = [np.broadcast_to(M, start.T.shape) for M in _random_problem(m, rng)]
            begin, end = ([M[c * K : (c + 1) * K] for M in pair] for pair in ((G0, Q0), (G1, Q1)))
            half, first = _track(start.T, *begin, *corner)
            last, second = _track(half, *corner, *end)
            more = _polish(last, end[0], end[1])[first & second]
            both = np.concatenate([found[c], more])
            found[c] = both[_distinct(both)]
    out = []
    for c in range(count):
        T = _settle_real(found[c], unit[c], Q[c])
        out.append(_describe(g[c] ** 2 * T - lam[c] * inverse[c], X[c], Y[c], float(lam[c]), K))
    return out


def _settle_real(T: np.ndarray, G: np.ndarray, Q: np.ndarray) -> np.ndarray:
    """Make real what is real: where Newton's method from the real part stays at the solution, that is the solution."""
    size = np.linalg.norm(T, axis=(1, 2))
    near = np.abs(T.imag).max(axis=(1, 2), initial=0.0) <= 1e-5 * size
    R = T[near].real
    R = _polish(R, np.broadcast_to(G, R.shape), np.broadcast_to(Q, R.shape))
    gap = np.linalg.norm(_equation(R, G, Q), axis=-1) / (size[near] ** 2 + size[near])  # |G| is of order 1 here
    stays = (
        np.linalg.norm(R - T[near], axis=(1, 2)) <= 2 * np.linalg.norm(T[near].imag, axis=(1, 2)) + 1e-9 * size[near]
    )
    T = T.copy()
    T[near] = np.where(((gap < 1e-13) & stays)[:, None, None], R, T[near])
    return T


def _describe(S: np.ndarray, X: np.ndarray, Y: np.ndarray, lam: float, expected: int) -> Solutions:
    size = np.linalg.norm(Y.T @ S @ Y, axis=(1, 2)) + np.linalg.norm(X @ S + lam * np.eye(len(X)), axis=(1, 2)) ** 2
    residuals = np.linalg.norm(gram_residual(S, X, Y, lam), axis=(1, 2)) / np.maximum(size, 1e-300)
    norms = np.linalg.norm(S, axis=(1, 2))
    real = (S.imag == 0).all(axis=(1, 2))
    positive = real & (np.linalg.eigvalsh(S.real)[:, 0] > -1e-10 * norms)  # rounding: S = T - lam X^{-1}
    gaps = np.linalg.norm(S[:, None] - S, axis=(2, 3)) / (norms[:, None] + norms + 1e-300)
    separation = float(np.min(gaps + 2 * np.eye(len(S)), initial=2.0))
    message = f"all {expected} solutions found"
    if len(S) != expected:
        message = (
            f"{len(S)} distinct solutions found where a generic problem has {expected}: this problem has multiple"
            " solutions, a continuum of them or solutions at infinity, or lies too near to such a one"
        )
    # By entries rounded: mirrored solutions share some of them, and rounding must not decide their order.
    flat = S.reshape(len(S), -1) / np.max(norms, initial=1e-300)
    order = np.lexsort((*np.round(np.hstack([flat.real, flat.imag]), 9).T[::-1], ~real))
    return Solutions(S[order], residuals[order], real[order], positive[order], separation, expected, message)


def count_equilibria(
    X: Float[np.ndarray, "K m m"], Y: Float[np.ndarray, "K m m"], lam: Float[np.ndarray, " K"] | float
) -> tuple[Int[np.ndarray, " K"], Bool[np.ndarray, " K"]]:
    """How many full-rank equilibria each of K problems has, and for which of them all solutions were found.

    m <= 4. Raises ``ValueError`` as :func:`all_solutions`.
    """
    X = _validate.positive_definite("X", _validate.shaped("X", X, ("K", "m", "m")))
    Y = _validate.shaped("Y", Y, X.shape)
    if X.shape[-1] > 4:
        raise ValueError(f"m = {X.shape[-1]} is too large to enumerate; need m <= 4")
    lam = np.broadcast_to(_validate.positive("lam", lam), (len(X),))
    found = [s for k in range(0, len(X), 100) for s in _solve_many(X[k : k + 100], Y[k : k + 100], lam[k : k + 100])]
    counts = np.array([int(s.positive_definite.sum()) for s in found], dtype=int)
    return counts, np.array([s.complete for s in found], dtype=bool)


FAMILIES = ("signal and noise", "general Y", "near a rotation", "digits")
"""The families of :func:`draw_problems`."""


def draw_problems(
    family: str, m: int, count: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "K m m"], Float[np.ndarray, "K m m"]]:
    """Draw the moments X and Y (``count``, m, m) of random problems.

    "signal and noise": y and x share a signal with second moment Y (Wishart, 3 m degrees of freedom, mean I) and x has
    independent noise of 0.3 times another; Y is symmetric. "general Y": the same X, and Y with independent normal
    entries of variance 1/m. "near a rotation": X = I and Y a random rotation, both disturbed by normal entries of
    standard deviation 0.1. "digits": the moments of pairs of views of digits, in m random orthonormal directions
    among the sixteen leading ones.
    """
    _validate.one_of("family", family, FAMILIES)
    m, count = _validate.count("m", m), _validate.count("count", count)

    def wishart() -> np.ndarray:
        W = rng.normal(size=(count, m, 3 * m))
        return W @ W.mT / (3 * m)

    if family == "digits":
        xx, yx = _digit_moments()
        if m > len(xx):
            raise ValueError(f"m must be at most {len(xx)} for digits; got {m}")
        V = np.linalg.qr(rng.normal(size=(count, len(xx), m)))[0]
        return V.mT @ xx @ V, V.mT @ yx @ V
    if family == "near a rotation":
        Y = np.linalg.qr(rng.normal(size=(count, m, m)))[0]
        Y[..., 0] *= np.sign(np.linalg.det(Y))[:, None]
        E = 0.1 * rng.normal(size=(count, m, m))
        return np.eye(m) + (E + E.mT) / 2, Y + 0.1 * rng.normal(size=(count, m, m))
    signal = wishart()
    X = signal + 0.3 * wishart()
    return X, signal if family == "signal and noise" else rng.normal(size=(count, m, m)) / np.sqrt(m)


@cache
def _digit_moments() -> tuple[np.ndarray, np.ndarray]:
    """The moments of pairs of views of digits in the sixteen leading directions of what the two views share."""
    from ssltheory.digits import digit_views
    from ssltheory.moments import second_moments

    x, y, _ = digit_views(np.random.default_rng(0))
    moments = second_moments(x, y)
    moments = moments.project(moments.shared_directions(16)[::-1])
    return moments.xx, moments.yx


def small_decay_count(X: Float[np.ndarray, "m m"], Y: Float[np.ndarray, "m m"]) -> int:
    """The number of full-rank equilibria (positive definite S) for every small enough weight decay, 2^{r + c}.

    r and c are the numbers of real eigenvalues and of complex pairs of G = Y X^{-1}, which must be distinct and nonzero
    (:func:`draw_problems` gives such with probability one): as lam -> 0 each equilibrium tends to a positive
    semi-definite one whose kernel is invariant under G, and there is one for each invariant subspace.
    """
    X, Y, _ = _validate.problem(X, Y, 1.0)
    values = np.linalg.eigvals(np.linalg.solve(X, Y.T))
    real = int((values.imag == 0).sum())
    return 2 ** (real + (len(values) - real) // 2)


def count_family(family: str, m: int, ratio: float, count: int, seed: int) -> dict[str, Any]:
    """Count the full-rank equilibria of random problems of a family, each at ``ratio`` times its own threshold lam*.

    Returns how many problems have how many equilibria, among those whose enumeration is complete, how many are not
    complete, and how many of the former have as many as :func:`small_decay_count` says.
    """
    ratio = _validate.scalar("ratio", ratio, _validate.positive)
    X, Y = draw_problems(family, m, count, np.random.default_rng(seed))
    lam = ratio * np.array([critical_weight_decay(*problem) for problem in zip(X, Y, strict=True)])
    counts, complete = count_equilibria(X, Y, lam)
    predicted = np.array([small_decay_count(*problem) for problem in zip(X, Y, strict=True)])
    agree = int((counts == predicted)[complete].sum())
    found = {str(k): int((counts[complete] == k).sum()) for k in sorted(set(counts[complete].tolist()))}
    settings = {"family": family, "m": m, "ratio": ratio, "problems": count, "seed": seed}
    return settings | {"counts": found, "incomplete": int((~complete).sum()), "as_for_small_decay": agree}


RATIOS = (0.9, 0.3, 0.03)


def main() -> None:
    """Count exactly for m up to 5, find all solutions for m = 4 by monodromy, and record both with a start system.

    With --families count the full-rank equilibria of random problems instead.
    """
    from ssltheory.records import progress, write_record

    parser = argparse.ArgumentParser(prog="python -m ssltheory.enumeration", description=main.__doc__)
    parser.add_argument("--largest", type=int, default=5, help="the largest m that is counted exactly")
    parser.add_argument("--families", action="store_true")
    options = parser.parse_args()
    began = time.perf_counter()
    if options.families:
        rows = []
        cells = list(product(FAMILIES, ((2, 500), (3, 300)), enumerate(RATIOS)))
        for family, (m, count), (k, ratio) in progress(cells, "cells"):
            rows.append(count_family(family, m, ratio, count, seed=10 * m + k))
        seconds = time.perf_counter() - began
        command = "python -m ssltheory.enumeration --families"
        print(write_record("book/data/equilibrium_families.json", rows, command=command, seconds=seconds))
    else:
        data = _count_all(options.largest)
        seconds = time.perf_counter() - began
        command = "python -m ssltheory.enumeration"
        print(write_record("book/data/equilibrium_count.json", data, command=command, seconds=seconds))


def _count_all(largest: int) -> dict[str, Any]:
    exact, loops = [], []
    for m in range(1, largest + 1):
        for seed, prime in ((0, 32003), (1, 65521), (2, 10007))[: 3 if m < 5 else 1]:
            ring = quotient_ring(m, seed=seed, prime=prime)
            entry = {"m": m, "seed": seed, "prime": prime, "count": ring.dimension, "distinct": ring.distinct}
            exact.append(entry | {"by_degree": list(ring.by_degree)})
            print(exact[-1], flush=True)
    for seed in range(3):
        start = monodromy(4, seed=seed)
        size = np.linalg.norm(start.T, axis=(1, 2)) ** 2
        gap = float((np.linalg.norm(_equation(start.T, start.G, start.Q), axis=-1) / size).max())
        loops.append({"m": 4, "seed": seed, "count": len(start.T), "loops": start.loops, "residual": gap})
        print(loops[-1], flush=True)
        if seed == 0:
            kept: dict[str, Any] = {
                k: [v.real.ravel().tolist(), v.imag.ravel().tolist()] for k, v in (("G", start.G), ("Q", start.Q))
            }
            packed = _pack(start.T)
            kept |= {"T": [packed.real.tolist(), packed.imag.tolist()], "loops": start.loops}
    return {"exact": exact, "monodromy": loops, "start": kept}


if __name__ == "__main__":
    main()
