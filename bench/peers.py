"""The peers' own test suites of initializers, run against the drop-ins: how many of their tests hold.

    python -m bench peers torch PYTORCH/test/nn/test_init.py
    python -m bench peers jax JAX/tests/nn_test.py
    python -m bench peers keras KERAS/keras/src/initializers          # the backend that KERAS_BACKEND names
    python -m bench peers tensorflow TENSORFLOW/tensorflow/python/ops/init_ops_v2_test.py

The suites are not ours to ship: give the path of your own copy, of about the version that is installed. The peer's
initializers are replaced by fanwise's before the suite is read; nothing in it is changed. Tests of what the drop-in
does not have are left out: of TensorFlow's second API those of uniform numbers between two bounds. Every test that
fails is named, with the first line of its error: what the docs call a difference is among them.
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

    from fanwise import Constant, Identity, Normal, Orthogonal, TruncatedNormal, VarianceScaling, Zeros  # noqa: PLC0415
    from fanwise.tensorflow import Law  # noqa: PLC0415

    def scaled(scale, mode, distribution):
        return lambda seed=None: Law(VarianceScaling(scale, mode, distribution), seed=seed)

    def variance_scaling(scale=1.0, mode="fan_in", distribution="truncated_normal", seed=None):
        return scaled(scale, mode, {"untruncated_normal": "normal"}.get(distribution, distribution))(seed)

    theirs.Zeros = theirs.zeros_initializer = lambda: Law(Zeros())
    theirs.Ones = theirs.ones_initializer = lambda: Law("ones")
    theirs.Constant = theirs.constant_initializer = lambda value=0: Law(Constant(value))
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
    "tensorflow": Suite(tensorflow, "not RandomUniform"),
}


@dataclass
class Tally:
    """A plugin of pytest that counts.

    Args:
        passed: how many tests held.
        skipped: how many the suite skips itself.
        failed: the name and the first line of the error of each test that did not.
    """

    passed: int = 0
    skipped: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)

    def pytest_runtest_logreport(self, report) -> None:
        """Counts one phase of one test."""
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            message = crash.message if crash is not None else str(report.longrepr)
            self.failed.append((report.nodeid.rpartition("::")[2], message.strip().partition("\n")[0][:160]))
        elif report.skipped:
            self.skipped += 1
        elif report.when == "call":
            self.passed += 1


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
    total = tally.passed + len(tally.failed)
    print(f"{asked.suite}: {tally.passed} of {total} tests hold, {tally.skipped} skipped by the suite itself")
    for name, error in tally.failed:
        print(f"  {name}: {error}")
    return 0 if total else 1


if __name__ == "__main__":
    sys.exit(main())
