import itertools
import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from ssltheory import figures

ASSETS = Path(__file__).parents[1] / "book" / "assets"
# Machado, Oliveira & Fernandes (2009), severity 1, acting on linear RGB.
VISION = {
    "full": np.eye(3),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
}
TOGETHER = [
    (*figures.DYNAMICS_ROLES, *figures.EQUILIBRIUM_ROLES),
    figures.NETWORK_ROLES,
    figures.OUTCOME_ROLES,
]
PALETTES = {"light": (figures.COLORS, "#FFFFFF"), "dark": (figures.COLORS_DARK, "#1C2329")}


def linear_rgb(color):
    v = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    x = to_xyz @ np.clip(rgb, 0, 1) / np.array([0.95047, 1.0, 1.08883])
    f = np.where(x > 216 / 24389, np.cbrt(x), (24389 / 27 * x + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(one, other):
    bright, dim = sorted((linear_rgb(c) @ [0.2126, 0.7152, 0.0722] for c in (one, other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("theme", PALETTES)
def test_colours_that_share_a_figure_are_told_apart_by_all(theme, vision):
    palette, _ = PALETTES[theme]
    for roles in TOGETHER:
        for one, other in itertools.combinations(roles, 2):
            seen = [lab(VISION[vision] @ linear_rgb(palette[role])) for role in (one, other)]
            assert np.linalg.norm(seen[0] - seen[1]) > 15, (one, other)


@pytest.mark.parametrize("theme", PALETTES)
def test_every_colour_stands_out_from_its_background(theme):
    palette, background = PALETTES[theme]
    assert all(contrast(color, background) >= 3 for color in palette.values())


def test_the_sites_style_sheet_holds_the_palette():
    css = (ASSETS / "explorer.css").read_text()
    light, dark = re.findall(r"^html(?:\[data-theme=\"dark\"\])? \{\n((?:  --role-.*\n)+)\}", css, re.MULTILINE)
    for block, palette in ((light, figures.COLORS), (dark, figures.COLORS_DARK)):
        assert dict(re.findall(r"--role-(\w+): (#\w+);", block)) == dict(palette)


def test_a_colour_is_a_role_or_hexadecimal():
    assert figures.color("sg") == "#0072B2"
    assert figures.color("#12aB34") == "#12aB34"
    for wrong in ("blue", "#12345", "#12345g"):
        with pytest.raises(ValueError, match="need #rrggbb or one of"):
            figures.color(wrong)


def test_the_style_is_applied_and_gives_the_figures_a_white_card():
    with mpl.rc_context():
        figures.use_style()
        assert mpl.rcParams["savefig.facecolor"] == mpl.rcParams["figure.facecolor"] == "white"
        assert mpl.rcParams["axes.prop_cycle"].by_key()["color"][:2] == [figures.COLORS["sg"], figures.COLORS["ema"]]
