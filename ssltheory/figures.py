"""The look of every figure: one colour for one thing in the whole book, and a quiet matplotlib style.

The palette keeps to colours that readers with deuteranopia or protanopia can tell apart within each group that shares
a figure, and each has a contrast of at least 3 to 1 against its background. ``COLORS`` is for light pages and for
matplotlib; ``COLORS_DARK`` holds the same roles for the explorers on dark pages.
"""

from types import MappingProxyType
from typing import Any

DYNAMICS_ROLES = ("sg", "ema", "gradient")
NETWORK_ROLES = ("student", "predictor", "teacher")
EQUILIBRIUM_ROLES = ("outer", "inner", "origin")
OUTCOME_ROLES = ("converged", "diverged", "unfinished")
PLAIN_ROLES = ("ink", "muted")

COLORS = MappingProxyType(
    {
        "sg": "#0072B2",
        "ema": "#D55E00",
        "gradient": "#5D5D5D",
        "student": "#332288",
        "predictor": "#8A7F1E",
        "teacher": "#AA3355",
        "outer": "#25A362",
        "inner": "#6A1450",
        "origin": "#453406",
        "converged": "#117733",
        "diverged": "#AA4499",
        "unfinished": "#B07F00",
        "ink": "#1F2933",
        "muted": "#66707A",
    }
)

COLORS_DARK = MappingProxyType(
    {
        "sg": "#3B8BDB",
        "ema": "#F7702A",
        "gradient": "#8A8A8A",
        "student": "#A99BEB",
        "predictor": "#C9BE55",
        "teacher": "#EE7F99",
        "outer": "#8FEBB8",
        "inner": "#EEB3F5",
        "origin": "#F5D87D",
        "converged": "#4FBF75",
        "diverged": "#D98BCB",
        "unfinished": "#E6BC3C",
        "ink": "#E6E9ED",
        "muted": "#9BA5AF",
    }
)

STYLE: MappingProxyType[Any, Any] = MappingProxyType(
    {
        "figure.figsize": (7.2, 4.0),
        "figure.dpi": 110,
        "figure.facecolor": "white",
        "figure.constrained_layout.use": True,
        "savefig.facecolor": "white",
        "font.family": "DejaVu Sans",
        "font.size": 10,
        "mathtext.fontset": "cm",
        "axes.titlesize": 11,
        "axes.titlelocation": "left",
        "axes.titleweight": "bold",
        "axes.labelcolor": COLORS["ink"],
        "axes.edgecolor": COLORS["muted"],
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#E3E7EB",
        "grid.linewidth": 0.7,
        "xtick.color": COLORS["muted"],
        "ytick.color": COLORS["muted"],
        "xtick.labelcolor": COLORS["ink"],
        "ytick.labelcolor": COLORS["ink"],
        "text.color": COLORS["ink"],
        "lines.linewidth": 1.8,
        "legend.frameon": False,
        "image.cmap": "cividis",
        "svg.hashsalt": "ssltheory",
    }
)


def color(name: str) -> str:
    """Return the hexadecimal colour of a role of ``COLORS``, or ``name`` itself when it is already ``#rrggbb``.

    Raises ``ValueError`` for anything else.
    """
    if name in COLORS:
        return COLORS[name]
    if len(name) == 7 and name[0] == "#" and all(c in "0123456789abcdefABCDEF" for c in name[1:]):
        return name
    raise ValueError(f"got colour {name!r}, need #rrggbb or one of {', '.join(COLORS)}")


def use_style() -> None:
    """Set matplotlib's defaults to the book's: light grid, open axes, a white card as background.

    The background is white rather than transparent so that a figure reads the same on a dark page.
    """
    import matplotlib as mpl
    from cycler import cycler

    cycle = [COLORS[role] for role in (*DYNAMICS_ROLES, *EQUILIBRIUM_ROLES)]
    mpl.rcParams.update({**STYLE, "axes.prop_cycle": cycler(color=cycle)})
