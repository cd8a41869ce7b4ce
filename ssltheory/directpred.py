"""A predictor that is set from the code's second moment instead of being learned: B = f(A X A^T).

With p = 1/2 this is DirectPred (Tian, Chen and Ganguli, arXiv 2102.06810), with p = 1 DirectCopy (Wang et al.,
arXiv 2110.04947), with p = 0 there is no predictor. B is held while the loss is differentiated, unless said.
"""

import numpy as np
from jaxtyping import Float

from ssltheory import _validate


def closed_form_predictor(Sigma: Float[np.ndarray, "*batch n n"], p: float) -> Float[np.ndarray, "*batch n n"]:
    """The predictor B = Sigma^p of a code with second moment Sigma = E[z z^T], on the eigenvectors of Sigma.

    An eigenvalue mu_k >= 0 of Sigma becomes the eigenvalue d_k = mu_k^p of B; eigenvalues that are negative by rounding
    count as 0. At p = 0 the predictor is the identity. Raises ``ValueError`` for p < 0 or for a Sigma that is not
    symmetric positive semi-definite. Source: Tian, Chen and Ganguli (2021), Wang et al. (2021); Halvagal et al. (2023).
    """
    Sigma = _validate.positive_semidefinite("Sigma", _validate.shaped("Sigma", Sigma, ("n", "n"), batched=True))
    return _power(Sigma, _validate.scalar("p", p, _validate.nonnegative))


def _power(Sigma: np.ndarray, p: float) -> np.ndarray:
    mu, U = np.linalg.eigh(Sigma)
    d = np.clip(mu, 0.0, None) ** p
    return (U * d[..., None, :]) @ U.mT
