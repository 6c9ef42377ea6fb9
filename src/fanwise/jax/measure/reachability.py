"""Which parameters a function depends on: a gradient that is zero by chance, and one that is cut off."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal


def reached(function: Callable[[dict[str, Any]], Any], leaves: dict[str, Any]) -> frozenset[str]:
    """The leaves whose changes change a function, to the first order and whatever the numbers, by name.

    A gradient that is cut off has no way back; one that is zero because a factor is 0, or because every unit is dead,
    has one.

    Args:
        function: of the leaves.
        leaves: by name.

    Example:
        >>> import jax.numpy as jnp
        >>> def loss(p):
        ...     return (p["gate"] * p["w"]).sum() + jax.lax.stop_gradient(p["v"]).sum()
        >>> sorted(reached(loss, {"gate": jnp.zeros(()), "v": jnp.ones(3), "w": jnp.ones(3)}))
        ['gate', 'w']
    """
    _, linear = jax.linearize(function, leaves)
    program = jax.make_jaxpr(linear)(leaves).jaxpr
    needed = _inputs(program, [True] * len(program.outvars))
    return frozenset(name for name, depends in zip(sorted(leaves), needed, strict=True) if depends)


def _inputs(jaxpr: Jaxpr, wanted: Sequence[bool]) -> list[bool]:
    """Which inputs of a program those of its outputs depend on that are wanted."""
    needed = {
        atom
        for atom, is_wanted in zip(jaxpr.outvars, wanted, strict=True)
        if is_wanted and not isinstance(atom, Literal)
    }
    for equation in reversed(jaxpr.eqns):
        asked = [variable in needed for variable in equation.outvars]
        if any(asked):
            pairs = zip(equation.invars, _of_equation(equation, asked), strict=True)
            needed |= {atom for atom, depends in pairs if depends and not isinstance(atom, Literal)}
    return [variable in needed for variable in jaxpr.invars]


def _of_equation(equation: JaxprEqn, wanted: Sequence[bool]) -> list[bool]:
    """Inputs that an equation needs; programs that it only calls are looked into."""
    inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
    program = inner.jaxpr if isinstance(inner, ClosedJaxpr) else inner
    if isinstance(program, Jaxpr) and len(program.invars) == len(equation.invars) and equation.primitive.name != "scan":
        return _inputs(program, wanted)
    return [True] * len(equation.invars)
