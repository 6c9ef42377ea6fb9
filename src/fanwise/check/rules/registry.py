"""The registry of the rules, from which the check, the pages, the lists and the docs are made."""

from collections.abc import Mapping
from types import MappingProxyType

from fanwise.check.rules import (
    addends,
    depth,
    factors,
    fans,
    gradients,
    inputs,
    losses,
    means,
    numbers,
    outputs,
    sizes,
    starvation,
    training,
    units,
    weights,
    zeros,
)
from fanwise.check.rules.rule import Rule

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        rule.code: rule
        for rule in (
            weights.not_finite,
            inputs.broken_batch,
            zeros.zero_maps,
            weights.constant_maps,
            weights.equal_units,
            means.shifted,
            numbers.copies,
            numbers.same_seeds,
            weights.tied,
            weights.off_plan,
            inputs.not_normalised,
            factors.loud_factors,
            factors.factors_around_zero,
            addends.drowning_summands,
            addends.speaking_adapters,
            factors.shut_gates,
            units.drowning_biases,
            sizes.outlier,
            sizes.hidden_by_norm,
            sizes.mostly_tiny,
            sizes.mostly_huge,
            depth.growing_stream,
            depth.shrinking_signal,
            depth.growing_signal,
            weights.slip,
            weights.fused,
            units.sharp_attention,
            units.saturated,
            units.dead,
            outputs.overflow,
            gradients.no_gradient,
            starvation.starved,
            outputs.independent_of_input,
            losses.broadcast,
            losses.far_targets,
            losses.loud_loss,
            fans.wrong_fans,
            training.frozen,
            gradients.cut_graph,
            gradients.broken_gradients,
            depth.shrinking_gradient,
            depth.growing_gradient,
            training.large_update,
            training.lost_update,
            training.unused,
            training.shared,
        )
    }
)
"""Every rule by its code, causes before what they explain. The order decides between findings of equal rank."""
