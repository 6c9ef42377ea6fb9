"""The peers' own test suites of initializers, run against the drop-ins: how many of their tests hold.

    python -m bench peers torch PYTORCH/test/nn/test_init.py
    python -m bench peers jax JAX/tests/nn_test.py
    python -m bench peers keras KERAS/keras/src/initializers          # the backend that KERAS_BACKEND names
    python -m bench peers tensorflow TENSORFLOW/tensorflow/python/ops/init_ops_v2_test.py

The suites are not ours to ship: give the path of your own copy, of about the version that is installed. The peer's
initializers are replaced by fanwise's before the suite is read; nothing in it is changed. Tests of what the drop-in
does not have are left out: of TensorFlow's second API those of uniform numbers between two bounds, and of constants.
Every test that fails is named, with the first line of its error: what the docs call a difference is among them.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest


def replace_names(theirs: ModuleType, ours: ModuleType, names: Iterable[str]) -> None:
    """Puts fanwise's objects in the place of the peer's."""
    for name in names:
        setattr(theirs, name, getattr(ours, name))


def torch() -> None:
    """`torch.nn.init`."""
    import torch.nn.init as theirs  # noqa: PLC0415

    from fanwise.torch import init as ours  # noqa: PLC0415

    replace_names(theirs, ours, [name for name in dir(ours) if name in dir(theirs) and callable(getattr(ours, name))])


def jax() -> None:
    """`jax.nn.initializers`."""
    import jax.nn.initializers as theirs  # noqa: PLC0415

    from fanwise.jax import initializers as ours  # noqa: PLC0415

    replace_names(theirs, ours, [name for name in dir(theirs) if name in ours.__all__ and name != "Initializer"])


def keras() -> None:
    """`keras.src.initializers`, also where its modules import the classes from."""
    from keras.src import initializers as theirs  # noqa: PLC0415
    from keras.src.initializers import constant_initializers, random_initializers  # noqa: PLC0415

    from fanwise.keras import initializers as ours  # noqa: PLC0415

    names = [name for name in ours.INITIALIZERS if hasattr(theirs, name)]
    replace_names(theirs, ours, [*names, "get"])
    for module in (constant_initializers, random_initializers):
        replace_names(module, ours, [name for name in names if hasattr(module, name)])


def tensorflow() -> None:
    """`tensorflow.python.ops.init_ops_v2`, by the laws of `fanwise.tensorflow.Law`."""
    from tensorflow.python.ops import init_ops_v2 as theirs  # noqa: PLC0415

    from fanwise import Identity, Normal, Orthogonal, TruncatedNormal, VarianceScaling, Zeros  # noqa: PLC0415
    from fanwise.tensorflow import Law  # noqa: PLC0415

    def scaled(scale, mode, distribution):
        return lambda seed=None: Law(VarianceScaling(scale, mode, distribution), seed=seed)

    def variance_scaling(scale=1.0, mode="fan_in", distribution="truncated_normal", seed=None):
        return scaled(scale, mode, {"untruncated_normal": "normal"}.get(distribution, distribution))(seed)

    theirs.Zeros = theirs.zeros_initializer = lambda: Law(Zeros())
    theirs.Ones = theirs.ones_initializer = lambda: Law("ones")
    theirs.RandomNormal = lambda mean=0.0, stddev=0.05, seed=None: Law(Normal(stddev), seed=seed)
    theirs.TruncatedNormal = lambda mean=0.0, stddev=0.05, seed=None: Law(TruncatedNormal(stddev * 0.8796), seed=seed)
    theirs.VarianceScaling = variance_scaling
    theirs.Orthogonal = lambda gain=1.0, seed=None: Law(Orthogonal(gain, "norm"), seed=seed)
    theirs.Identity = lambda gain=1.0: Law(Identity(gain))
    theirs.GlorotUniform, theirs.GlorotNormal = (
        scaled(1.0, "fan_avg", kind) for kind in ("uniform", "truncated_normal")
    )
    theirs.lecun_uniform, theirs.lecun_normal = (
        scaled(1.0, "fan_in", kind) for kind in ("uniform", "truncated_normal")
    )
    theirs.he_uniform, theirs.he_normal = (scaled(2.0, "fan_in", kind) for kind in ("uniform", "truncated_normal"))


@dataclass(frozen=True)
class Suite:
    """A peer: what replaces its initializers, and which of its tests are about them.

    Args:
        replace: puts the drop-in in their place.
        about: an expression of pytest's ``-k``.
    """

    replace: Callable[[], None]
    about: str = ""


SUITES = {
    "torch": Suite(torch),
    "jax": Suite(jax, "NNInitializersTest"),
    "keras": Suite(keras),
    "tensorflow": Suite(tensorflow, "not RandomUniform and not testConstant and not testNDim"),
}


@dataclass
class Tally:
    """A plugin of pytest that counts tests; a test of several modes fails where one of them does.

    Args:
        passed: the tests that held so far.
        skipped: those that the suite skips itself.
        failed: the first line of the error of each test that did not hold, and of each file that could not be read.
    """

    passed: set[str] = field(default_factory=set)
    skipped: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)

    def pytest_collectreport(self, report) -> None:
        """Notes a file that could not be read."""
        if report.failed:
            self.failed[report.nodeid] = _first_line(str(report.longrepr).rpartition("\nE ")[2])

    def pytest_runtest_logreport(self, report) -> None:
        """Counts one phase, or one mode, of one test."""
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            self.failed.setdefault(report.nodeid, _first_line(str(report.longrepr if crash is None else crash.message)))
        elif report.skipped:
            self.skipped.add(report.nodeid)
        elif report.when == "call":
            self.passed.add(report.nodeid)


def _first_line(text: str) -> str:
    return next(
        (line.strip()[:160] for line in text.splitlines() if line.strip(" :") not in ("", "AssertionError")), ""
    )


def run(suite: Suite, path: Path) -> Tally:
    """Runs a suite in this process, apart from this project's configuration."""
    suite.replace()
    tally = Tally()
    here = path if path.is_dir() else path.parent
    options = ["-p", "no:cacheprovider", "-p", "no:terminal", "-c", os.devnull, "--rootdir", str(here)]
    about = ["-k", suite.about] if suite.about else []
    pytest.main([str(path), *options, *about, "-o", "python_files=*_test.py test_*.py"], plugins=[tally])
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench peers", description=__doc__.partition("\n")[0])
    parser.add_argument("suite", choices=SUITES)
    parser.add_argument("path", type=Path, help="your own copy of the suite: a file or a folder")
    asked = parser.parse_args()
    if not asked.path.exists():
        parser.error(f"path = {str(asked.path)!r}: there is no such file or folder")
    tally = run(SUITES[asked.suite], asked.path.resolve())
    held = tally.passed - tally.skipped - set(tally.failed)
    total, skipped = len(held) + len(tally.failed), len(tally.skipped - set(tally.failed))
    print(f"{asked.suite}: {len(held)} of {total} tests hold, {skipped} skipped by the suite itself")
    for name, error in tally.failed.items():
        print(f"  {name.rpartition('::')[2]}: {error}")
    return 0 if total else 1


if __name__ == "__main__":
    sys.exit(main())
