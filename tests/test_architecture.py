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
    "numpy",
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


def dotted(path):
    """A module's name below fanwise; a package's is that of its folder."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path):
    """The modules of fanwise that a module imports, inside functions and for type checkers too."""
    for name in imports(path):
        inner = name.removeprefix("fanwise.")
        if inner != name:
            yield inner if inner in NAMES else inner.rpartition(".")[0]


NAMES = {dotted(path): path for path in MODULES}
GRAPH = {name: {other for other in imported(path) if other in NAMES} for name, path in NAMES.items()}


def folder(name):
    """The folder of a room in which a module lies; the module itself where it lies in none."""
    parts = NAMES[name].relative_to(SOURCE).parts
    return ".".join(parts[:2]) if len(parts) > 2 else name


def circles(graph):
    """Groups of nodes each of which leads to every other."""
    reached = {name: reachable(graph, name) for name in graph}
    groups = (frozenset(other for other in reached[name] if name in reached[other]) for name in graph)
    return {group for group in groups if len(group) > 1}


def reachable(graph, start):
    seen, queue = set(), [start]
    while queue:
        new = graph[queue.pop()] - seen
        seen |= new
        queue.extend(new)
    return seen


def test_circles_are_seen():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}) == {frozenset("bc")}
    assert "check.rules.registry" in GRAPH["check.report"]
    assert {"plan.render.toml", "plan.row"} <= reachable(GRAPH, "check.report")  # not through __init__ alone


def test_no_modules_import_each_other_lazily_or_for_types_alone():
    assert not circles(GRAPH)


def test_no_folders_of_a_room_import_each_other():
    folders = {folder(name): set() for name in GRAPH}
    for name, others in GRAPH.items():
        folders[folder(name)] |= {folder(other) for other in others} - {folder(name)}
    assert not circles(folders)


FOLDERS = ("stream", "trace", "weights", "measure", "init", "backend", "api", "cli")
"""The folders of an adapter: each may import those before it."""


@pytest.mark.parametrize("adapter", ["torch", "jax", "keras"])
def test_the_folders_of_an_adapter_are_the_same_and_import_downwards(adapter):
    folders = {path.name for path in (SOURCE / adapter).iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders - {"stream"} == set(FOLDERS) - {"stream", "backend"}
    for name, others in GRAPH.items():
        here = name.split(".")
        if here[0] == adapter and len(here) > 1 and here[1] in FOLDERS:
            near = [other.split(".") for other in others if other.split(".")[0] == adapter]
            above = [other for other in near if len(other) > 1 and other[1] in FOLDERS[FOLDERS.index(here[1]) + 1 :]]
            assert not above, f"{name} imports {above}"


COMPILED = {"_kernel"}
"""The extension module, whose name Python's tools expect."""
OF_TORCH = {
    "_calculate_correct_fan",
    "_calculate_fan_in_and_fan_out",
    "_no_grad_fill_",
    "_no_grad_normal_",
    "_no_grad_trunc_normal_",
    "_no_grad_uniform_",
    "_no_grad_zero_",
}
"""Names of torch.nn.init that users call though torch underscores them: the drop-in has them too."""


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_no_private_name_crosses_modules(path):
    tree = ast.parse(path.read_text())
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module.startswith("fanwise")]
    aliases = [(alias.asname or alias.name, f"{node.module}.{alias.name}") for node in froms for alias in node.names]
    modules = {name for name, full in aliases if full.removeprefix("fanwise.") in NAMES}
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    reached = [node.attr for node in attributes if isinstance(node.value, ast.Name) and node.value.id in modules]
    private = {name for name in (*dict(aliases), *reached) if name.startswith("_") and not name.startswith("__")}
    assert not private - COMPILED - OF_TORCH


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
