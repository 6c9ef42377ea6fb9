"""Tests of samples against exact laws. Every threshold follows from the sample size: about 5 standard errors."""

import math

import numpy as np

SIGMAS = 5.0
KOLMOGOROV = 2.744
"""2 exp(-2 x^2) = 5.7e-7, the two-sided probability of 5 sigmas (Kolmogorov's limit law)."""


def mean_error(sample, law):
    """Distance of the sample's mean from the law's, in standard errors."""
    return (float(np.mean(sample, dtype=np.float64)) - law.mean()) / (law.std() / math.sqrt(sample.size))


def variance_error(sample, law):
    """Distance of the second moment around the law's mean from the law's variance, in standard errors."""
    variance, kurtosis = float(law.var()), float(law.stats("k"))
    squares = np.square(sample.astype(np.float64) - law.mean())
    return (squares.mean() - variance) / (variance * math.sqrt((kurtosis + 2) / sample.size))


def kolmogorov_distance(sample, law):
    """sqrt(n) times the largest distance of the empirical from the exact distribution function."""
    ordered = np.sort(sample.astype(np.float64))
    exact = law.cdf(ordered)
    steps = np.arange(ordered.size + 1) / ordered.size
    return math.sqrt(ordered.size) * max(np.max(steps[1:] - exact), np.max(exact - steps[:-1]))


def follows(sample, law):
    """Whether a sample passes all three."""
    return (
        abs(mean_error(sample, law)) < SIGMAS
        and abs(variance_error(sample, law)) < SIGMAS
        and kolmogorov_distance(sample, law) < KOLMOGOROV
    )
