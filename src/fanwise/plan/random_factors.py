"""Laws of factors on a signal that a model's author draws at random: a map of one input for each value.

Derived here. For y = g x, value by value, with g of mean 0 and independent of x, E y^2 = E g^2 E x^2: unit second
moment asks for std 1 / rms(x), as for a map of fan_in 1. Not where y is the argument of a sine: then g are the
frequencies that the model offers, whose spread is the author's choice (Gorishniy et al., "On embeddings for numerical
features in tabular deep learning", 2022, section 3.3, tune it; as in the first map of a SIREN). Values around another
mean are the author's choice, too: their mean and spread are kept, and drawn from the key.
"""

import math

from fanwise.graph.op import Op, OpKind, UseRole
from fanwise.graph.trace import Trace
from fanwise.laws.elementwise import Normal
from fanwise.plan.recipes.recipe import Choice, Feed
from fanwise.plan.recipes.unit import SINES
from fanwise.plan.roles import Case
from fanwise.plan.starts import Starts
from fanwise.plan.transforms import Weight, is_proportional, solved

TO_SINE = frozenset({OpKind.ELEMENTWISE, OpKind.MUL, OpKind.SCALE, OpKind.SHIFT, OpKind.SLICE, OpKind.ADD})
"""What may stand between frequencies times a signal and the sines of it."""
ROLES = ("gate", "branch_gate", "other")
_GORISHNIY = 'Gorishniy et al., "On embeddings for numerical features in tabular deep learning", 2022, section 3.3'


def random_factor(trace: Trace, case: Case, feed: Feed, starts: Starts) -> Choice | None:
    """The choice of a factor whose values are random; None for one that is not.

    Args:
        trace: of the model.
        case: of the factor.
        feed: of the product.
        starts: its values.
    """
    path = case.parameter.path
    if case.role not in ROLES or case.op is None or case.use is None:
        return None
    around = starts.drawn_around(path)
    if around is not None:
        mean = around.moments(case.parameter.shape).mean
        return Choice(around, f"drawn anew around {mean:.3g}, with the spread that its author gave it")
    found, sign = starts.drawn_like(path), starts.random_sign(path)
    if case.use.role != UseRole.SCALE or (found is None and sign is None):
        return None
    if _is_frequency(trace, case.op) and found is not None:
        return Choice(found, "frequencies of a sine, of the spread that their author chose", _GORISHNIY)
    if sign is not None:
        return Choice(Normal(sign), f"random factors of second moment {sign**2:.3g}, as the signs that were drawn")
    return _unit(case, feed)


def _unit(case: Case, feed: Feed) -> Choice | None:
    """A factor after which the signal has unit second moment."""
    variance = 1 / feed.second_moment
    reason = "random factors, a map of one input each: unit second moment after them"
    transform = None if case.use is None else case.use.transform
    if transform is None and not case.derived:
        return Choice(Normal(float(f"{math.sqrt(variance):.6g}")), reason, "", 1.0, not feed.known)
    path = case.parameter.path
    if transform is None or path not in transform.parameters or not is_proportional(path, transform):
        return None
    solution = solved(Weight(transform, {}, (path,)), variance)
    if solution is None:
        return None
    return Choice(solution.law, f"{reason}, {solution.why}", "", 1.0, not (feed.known and solution.fits))


def _is_frequency(trace: Trace, op: Op) -> bool:
    """Whether a product is the argument of a sine."""
    bend = trace.after(op, frozenset({OpKind.ACTIVATION}), TO_SINE)
    return bend is not None and bend.nonlinearity in SINES
