"""`TargetSession`: what the command line does with the models of one framework; the same in all of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

from fanwise.adapters.hints import hint_for
from fanwise.adapters.planning import plan_model
from fanwise.adapters.protocol import Backend
from fanwise.calibrate.result import Calibration
from fanwise.check.fix import Mending
from fanwise.check.report import Report
from fanwise.check.session import CheckSession
from fanwise.measure.losses import LossLike
from fanwise.plan.plan import Plan
from fanwise.plan.recipes.registry import recipe as as_recipe
from fanwise.targets.names import guarded, is_configuration, without_arguments
from fanwise.targets.resolved import ResolvedTarget, takes_one


@dataclass(frozen=True)
class TargetAdapter:
    """What an adapter does for the command line beside its `Backend`.

    Args:
        backend: the framework.
        endings: how the names of files end to which it writes weights.
        without_memory: calls a function that makes a model and its inputs, and gives them with shapes for parameters.
        calibrate: model, batch and options to the calibrated model, and what was done.
        fix: what mends the findings of a report.
        write_weights: writes a model's weights to a file, by the end of its name.
        asks_inputs: whether inputs have to come with the model or be given; elsewhere models say what they take.
        configured: what makes the model of a configuration in words or in a file.
        check_weights: the report on a file of weights alone.
    """

    backend: Backend
    endings: tuple[str, ...]
    without_memory: Callable[[Callable[[], tuple[Any, Any]]], tuple[Any, Any]]
    calibrate: Callable[[Any, Any, Mapping[str, Any]], tuple[Any, Calibration]]
    fix: Callable[..., Mending]
    write_weights: Callable[[Any, Path], None]
    asks_inputs: bool = False
    configured: Callable[[str], Callable[[], Any]] | None = None
    check_weights: Callable[..., Report] | None = None


@dataclass(frozen=True)
class _Maker:
    """What makes the model that a target names.

    Args:
        make: called as the backend calls factories; returns the model, the model and its inputs, or these and a loss.
        factory: the user's own; None for a model that is there, and for a configuration.
        is_ready: whether no seed gives another model.
        is_paired: whether inputs may come with the model; never with one of a configuration.
    """

    make: Callable[..., Any]
    factory: Any = None
    is_ready: bool = False
    is_paired: bool = True


@dataclass(frozen=True)
class _Prepared:
    """A target's maker, its batch and its loss, as a check takes them."""

    maker: _Maker
    batch: Any
    loss: LossLike


@dataclass(frozen=True)
class TargetSession:
    """The commands of one framework; see `fanwise.targets.commands.Commands`.

    Args:
        adapter: of the framework.
    """

    adapter: TargetAdapter

    @property
    def endings(self) -> tuple[str, ...]:
        """How the names of files end to which it writes weights."""
        return self.adapter.endings

    def planned(
        self, target: ResolvedTarget, recipes: Sequence[str], *, meta: bool = False, keep: Sequence[str] = ()
    ) -> tuple[Plan, ...]:
        """Plans of a model, which is built once: one for each recipe."""
        chosen = [as_recipe(name) for name in recipes]  # refused before a model is built
        model, own = self.built(target, meta=meta)
        inputs = own if target.order.inputs is None else target.order.inputs
        self._check_given(inputs, "--input")
        return tuple(plan_model(self.adapter.backend, model, inputs, recipe, keep) for recipe in chosen)

    def checked(self, target: ResolvedTarget, progress: Callable[[str], None] | None = None) -> Report:
        """A report on a model, or on a file of weights."""
        order = target.order
        if order.of_weights and self.adapter.check_weights is not None:
            return self.adapter.check_weights(
                order.target, select=order.select, ignore=order.ignore, fail_on=order.fail_on
            )
        return self._checked(target, self._prepared(target), progress)

    def examined(self, target: ResolvedTarget) -> Report:
        """A report on what a factory makes, with the batch and the loss that come with the model."""
        maker, backend = self._maker(target), self.adapter.backend
        with backend.seeded(0) as key:
            model, batch, loss = self._three(maker.make(*key))
        again = model if maker.is_ready else _like(maker, lambda *key: self._three(maker.make(*key))[0])
        return CheckSession(backend, loss, fail_on=target.order.fail_on).report(again, batch)

    def fixed(
        self, target: ResolvedTarget, recipe: str = "unit", progress: Callable[[str], None] | None = None
    ) -> tuple[Report, Mending]:
        """A report on a model, and what mends what it found."""
        if target.order.of_weights:
            raise ValueError(f"target {target.order.target!r}: a file of weights has no model that could be planned")
        chosen, ready = as_recipe(recipe), self._prepared(target)
        report = self._checked(target, ready, progress)
        model, _ = self._made(target, ready.maker)
        return report, self.adapter.fix(model, report, ready.batch, loss=ready.loss, recipe=chosen)

    def calibrated(self, target: ResolvedTarget, options: Mapping[str, Any]) -> tuple[Any, Calibration]:
        """A model built from seed 0 and calibrated with these options, and what was done."""
        if target.order.of_weights:
            raise ValueError(f"target {target.order.target!r}: a file of weights has no model that could be run")
        ready = self._prepared(target)
        model, _ = self._made(target, ready.maker)
        return self.adapter.calibrate(model, ready.batch, {"loss": ready.loss, **options})

    def write_weights(self, model: Any, path: Path) -> None:
        """Writes a model's weights to a file, by the end of its name."""
        self.adapter.write_weights(model, path)

    def built(self, target: ResolvedTarget, *, meta: bool = False) -> tuple[Any, Any]:
        """The model that a target names, from seed 0, and the inputs where its factory gives them.

        Args:
            target: what is named.
            meta: build it without memory.

        Raises:
            ModelError: what makes it raised an error of its own.
            TypeError: it makes no model.
            ValueError: `meta`, where the framework has no models without memory.
        """
        maker = self._maker(target)
        if not meta:
            return self._made(target, maker)
        return self.adapter.without_memory(lambda: self._made(target, maker))

    def _maker(self, target: ResolvedTarget) -> _Maker:
        """What makes the model of a target; nothing is made yet."""
        name, backend = target.order.target, self.adapter.backend
        if is_configuration(name) and self.adapter.configured is not None:
            return _Maker(self.adapter.configured(name), is_paired=False)
        value = target.target()
        if backend.is_model(value) or isinstance(value, tuple) or not callable(value):
            return _Maker(lambda *key: value, is_ready=True)
        if backend.takes_key and takes_one(value):
            return _Maker(value, value)
        make = without_arguments(f"target {name!r}", value)
        return _Maker(lambda *key: make(), value, is_ready=backend.takes_key)

    def _made(self, target: ResolvedTarget, maker: _Maker) -> tuple[Any, Any]:
        """The model of seed 0, and its inputs or None."""
        with self.adapter.backend.seeded(0) as key:
            return self._parts(target, maker, *key)

    def _parts(self, target: ResolvedTarget, maker: _Maker, *key: Any) -> tuple[Any, Any]:
        """The model, and the inputs where they come with it.

        Raises:
            ModelError: what makes it raised an error of its own.
            TypeError: there is no model.
        """
        name, is_model = f"target {target.order.target!r}", self.adapter.backend.is_model
        product = guarded(name, lambda: maker.make(*key))
        is_pair = isinstance(product, tuple) and len(product) == 2
        if is_pair and is_model(product[0]):
            return product[0], product[1]
        if is_model(product):
            return product, None
        what = f"({', '.join(type(part).__name__ for part in product)})" if is_pair else type(product).__name__
        raise TypeError(f"{name} made {what}: {self.adapter.backend.forms}, or one and its inputs{hint_for(product)}")

    def _three(self, product: Any) -> tuple[Any, Any, Any]:
        """The model, and the batch and the loss where they come with it; a model may be a pair itself."""
        is_model = self.adapter.backend.is_model
        is_alone = is_model(product) and not (isinstance(product, tuple) and is_model(product[0]))
        return (product, None, None) if is_alone else three(product)

    def _prepared(self, target: ResolvedTarget) -> _Prepared:
        """What a check runs on; the model is made ahead where the batch could come with it."""
        maker = self._maker(target)
        batch = target.batch(
            lambda: self._made(target, maker)[1] if maker.is_paired else None, self.adapter.backend.is_array
        )
        self._check_given(batch, "--data or --input")
        return _Prepared(maker, batch, target.loss())

    def _check_given(self, inputs: Any, options: str) -> None:
        if inputs is None and self.adapter.asks_inputs:
            raise ValueError(f"inputs = None: give {options}, or let the factory return (model, inputs)")

    def _checked(self, target: ResolvedTarget, ready: _Prepared, progress: Callable[[str], None] | None) -> Report:
        maker = ready.maker
        factory = _like(maker, lambda *key: self._parts(target, maker, *key)[0])
        session = CheckSession(self.adapter.backend, ready.loss, progress=progress, **target.order.judging)
        return session.report(self._made(target, maker)[0] if maker.is_ready else factory, ready.batch)


def _like(maker: _Maker, factory: Callable[..., Any]) -> Callable[..., Any]:
    """A factory that stands for the user's own: its place in the sources is that one's."""
    return factory if maker.factory is None else wraps(maker.factory, updated=())(factory)


def three(product: Any) -> tuple[Any, Any, Any]:
    """What a factory made: the model, and the batch and the loss where it gives them.

    Raises:
        ValueError: more, or fewer.
    """
    if not isinstance(product, tuple):
        return product, None, None
    if len(product) not in (2, 3):
        raise ValueError(f"the factory returned {len(product)} things: expected a model, (model, batch) or (.., loss)")
    return product[0], product[1], product[2] if len(product) == 3 else None
