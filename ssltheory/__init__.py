"""Theory of non-contrastive self-supervised learning, executable.

Every public name is reachable as ``ssltheory.<name>`` and its module is imported at first use, so that
``import ssltheory`` stays fast and never imports torch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_MODULES = {
    "moments": ["SecondMoments", "completed_moments", "gaussian_moments", "second_moments"],
    "digits": ["load_digits", "augment", "digit_views"],
    "linear": ["LinearProblem"],
    "flow": ["integrate"],
    "iteration": ["iterate"],
    "trajectory": ["Outcome", "Trajectory"],
    "ensemble": ["Rest", "flow_to_rest", "iterate_to_rest"],
    "intervals": ["Interval", "mean_interval", "share_interval"],
    "records": ["Record", "data_path", "read_record", "write_record"],
    "samples": ["train_on_samples"],
    "optimizers": ["optimize"],
    "scalar_trials": ["OutcomeTable", "ScalarTrials", "draw_states", "draw_trials", "run_trials"],
    "ledger": [
        "Claim",
        "Ledger",
        "at_least",
        "at_most",
        "claim",
        "close_to",
        "equal_to",
        "glue",
        "inside",
        "load_ledger",
    ],
    "explorers": ["Choice", "Panel", "Scene", "Slider", "explorer"],
}
_SUBMODULES = [
    *_MODULES,
    "basins",
    "beyond_scenes",
    "center",
    "center_force_training",
    "center_forces",
    "center_penalty",
    "center_record",
    "center_table",
    "center_training",
    "center_watch",
    "collapse_scenes",
    "constrained_minima",
    "constraints_scenes",
    "contrast",
    "cosine",
    "curl",
    "curl_scenes",
    "diagnostics",
    "digit_equilibria",
    "directpred",
    "dynamics_scenes",
    "eigenmodes",
    "eigenspace_scenes",
    "encoders",
    "enumeration",
    "equal_spectrum",
    "equilibria",
    "equilibria_scenes",
    "exact_scenes",
    "exponential_flow",
    "figures",
    "images",
    "infonce",
    "isoloss",
    "isoloss_record",
    "isoloss_scenes",
    "isoloss_training",
    "long_training",
    "nearly_linear",
    "nearly_linear_scenes",
    "nonlinearity",
    "oja",
    "orthogonal_digits",
    "orthogonal_digits_scenes",
    "orthogonal_flow",
    "orthogonal_steps",
    "partial_scenes",
    "qr_game",
    "random_features",
    "realdata_scenes",
    "rank_deficient",
    "relu_encoder",
    "routh",
    "scalar",
    "scalar_map",
    "scalar_scenes",
    "scaled_loss",
    "scaled_record",
    "siamese",
    "simple_scenes",
    "single_code",
    "stability",
    "stability_census",
    "stability_scenes",
    "stiefel",
    "table_scenes",
    "tangent_kernel",
    "toy_simulation",
    "toy_views",
    "two_layer",
    "two_view_losses",
    "unconstrained",
    "vector_scenes",
    "vjepa",
]
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted({*_HOME, *_SUBMODULES})


def __getattr__(name: str) -> Any:
    """Import the module that defines ``name`` and return it (PEP 562)."""
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    if name in _SUBMODULES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'ssltheory' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names."""
    return sorted({*globals(), *_HOME, *_SUBMODULES})
