"""What report.css promises of its colours: contrast, and hues that stay apart for every kind of vision."""

import re
from importlib.resources import files
from itertools import combinations

import numpy as np
import pytest

CSS = files("fanwise.report").joinpath("static/report.css").read_text(encoding="utf-8")
THEMES = [
    dict(re.findall(r"--(\w+): (#\w{6}|#\w{3})\b", block)) for block in re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
]
HUES = [f"c{i}" for i in range(8)]

# Gustavo Machado, Manuel Oliveira, Leandro Fernandes, "A Physiologically-based Model for Simulation of Color Vision
# Deficiency", 2009, severity 1.0, on linear RGB.
VISION = {
    "usual": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
# IEC 61966-2-1 (sRGB): linear RGB to XYZ, and the white point.
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = np.array([0.9505, 1.0, 1.089])


def linear(colour):
    digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    rgb = np.array([int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)])
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def contrast(a, b):
    low, high = sorted(float(XYZ[1] @ linear(colour)) for colour in (a, b))
    return (high + 0.05) / (low + 0.05)


def lab(rgb):
    x, y, z = np.cbrt(XYZ @ np.clip(rgb, 1e-4, 1) / WHITE)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("theme", THEMES, ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["page", "raised"])
@pytest.mark.parametrize("name", ["ink", "soft", "accent", "good", "warn", "bad"])
def test_words_have_contrast_aa(theme, name, ground):
    assert contrast(theme[name], theme[ground]) >= 4.5


@pytest.mark.parametrize("theme", THEMES, ids=["light", "dark"])
@pytest.mark.parametrize("name", HUES)
def test_curves_stand_out_from_the_page(theme, name):
    assert contrast(theme[name], theme["page"]) >= 3


@pytest.mark.parametrize("theme", THEMES, ids=["light", "dark"])
@pytest.mark.parametrize("vision", VISION)
def test_any_two_curves_can_be_told_apart(theme, vision):
    seen = [lab(np.array(VISION[vision]) @ linear(theme[name])) for name in HUES]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) >= 20
