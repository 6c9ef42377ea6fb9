"""The house: which room may import which, no framework in the core, and what an import costs."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import fanwise

SOURCE = Path(fanwise.__file__).parent
FLOORS = [
    "_version",
    "stream",
    "laws",
    "report",
    "graph",
    "theory",
    "plan",
    "measure",
    "adapters",
    "calibrate",
    "check",
    "lab",
    "targets",
    "torch",
    "jax",
    "tensorflow",
    "keras",
    "cli",
]
"""Each room may import the rooms before it."""
FRAMEWORKS = {"torch", "jax", "keras", "tensorflow", "flax", "equinox", "scipy"}
ADAPTERS = {
    "torch": {"torch"},
    "jax": {"jax", "flax", "equinox"},
    "tensorflow": {"tensorflow"},
    "keras": {"keras", "jax", "tensorflow", "torch", "scipy"},  # Keras, and what it computes with
}
"""The frameworks that a room may import: its own."""
HEAVY = {"rich", "jinja2", "typer", "matplotlib", "multiprocessing"}


def room(path):
    first = path.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py")


def imports(path):
    """Dotted names that a module imports, at any depth of its code."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


MODULES = sorted(path for path in SOURCE.rglob("*.py") if path.name != "__init__.py" or path.parent != SOURCE)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_room_imports_only_what_stands_below(path):
    allowed = FLOORS[: FLOORS.index(room(path)) + 1]
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "fanwise":
            assert parts[1] in allowed, f"{path} imports {name}"
        assert parts[0] not in FRAMEWORKS - ADAPTERS.get(room(path), set()), f"{path} imports {name}"


def test_the_public_names_are_only_reexported():
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    assert all(isinstance(node, ast.ImportFrom | ast.Expr | ast.Assign) for node in tree.body)
    assert sorted(fanwise.__all__) == sorted(set(fanwise.__all__))
    assert all(name in vars(fanwise) for name in fanwise.__all__)


def loaded(statement):
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    return set(json.loads(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout))


def test_import_fanwise_loads_numpy_alone():
    assert not loaded("import fanwise") & (FRAMEWORKS | HEAVY | {"ml_dtypes"})


def test_help_loads_no_framework_and_no_rich():
    statement = "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()):\n"
    statement += "    from fanwise.cli import app\n    app(['--help'], standalone_mode=False)"
    assert not loaded(statement) & (FRAMEWORKS | {"rich"})


def test_files_are_short():
    for path in MODULES:
        assert len(path.read_text().splitlines()) <= 500, path
