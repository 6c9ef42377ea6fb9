"""The moment rules of theory: for each kind of op what it makes of a signal, and of a gradient.

A linear map gives new normal values (a sum of many terms is nearly normal); an elementwise function gives that function
of the same sample, so that what depends on itself (x * sigmoid(x), a gate and its input, a residual stream and its
branch) is right by construction. Each file holds the rules of one subject, forward and backward; a rule names its
formula and its source, or says "derived here" and how.
"""

from fanwise.theory.rules import affine, attention, cells, maps, normalisation, pointwise, pooling, selection
from fanwise.theory.rules.registry import BACKWARD, FORWARD, Share, back_by_rule, by_rule

__all__ = [
    "BACKWARD",
    "FORWARD",
    "Share",
    "affine",
    "attention",
    "back_by_rule",
    "by_rule",
    "cells",
    "maps",
    "normalisation",
    "pointwise",
    "pooling",
    "selection",
]
