"""Lines of the user's sources that construct the modules of a model: a help for the reader, never a reason to fail."""

import ast
import inspect
import linecache
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import CodeType, FunctionType, MappingProxyType
from typing import Any, TypeAlias

from torch import nn

from fanwise.graph.tracking.source_lines import is_users
from fanwise.measure.observation import Place

_Functions: TypeAlias = Mapping[int, ast.FunctionDef]
"""The functions of a file by the line on which their code begins, decorators included."""


@dataclass(frozen=True)
class _Assignment:
    """``self.name = value`` in a constructor."""

    source_line: Place
    value: ast.expr | None


@dataclass(frozen=True)
class _Constructor:
    """Assignments of the user's `__init__` of a class, and of the classes that it extends.

    Args:
        source_line: the line of the first of them.
        assigned: to each attribute, in order.
    """

    source_line: Place
    assigned: Mapping[str, Sequence[_Assignment]]


def construction_lines(model: nn.Module, fallback: Place | None = None) -> Mapping[str, Place]:
    """The line that constructs each module of a model.

    It is the line of ``self.name = ...`` in the `__init__` of the class that holds the module; for what stands in a
    ``Sequential`` or a list, its own line there where it is written out, else that of the container; the `__init__`
    itself where no assignment names it. Inside a library's class it is the place of the nearest module above that is
    the user's. The model itself is at its class.

    Args:
        model: any module.
        fallback: what is said where nothing above a module is the user's, such as the line of the factory.

    Returns:
        By path of the module, "" for the model itself. Modules of which nothing is known are left out; it never
        raises.
    """
    try:
        return MappingProxyType(_source_lines(model, fallback))
    except Exception:  # foreign metaclasses, sources that changed, recursion: no place is worth an error
        return MappingProxyType({})


def function_line(function: object) -> Place | None:
    """The line of a function's or class' definition in the user's sources; None where it has none."""
    try:
        unwrapped = inspect.unwrap(function) if callable(function) else function
        if isinstance(unwrapped, type):
            return _class_line(unwrapped)
        return _code_line(unwrapped.__code__) if isinstance(unwrapped, FunctionType) else None
    except Exception:  # as above
        return None


def _source_lines(model: nn.Module, fallback: Place | None) -> dict[str, Place]:
    modules = dict(model.named_modules())
    constructor = _constructors()
    lines: dict[str, Place | None] = {}
    for path, module in modules.items():  # parents come before what they hold
        above = path.rpartition(".")[0] if path else None
        if above is None:
            lines[path] = _class_line(type(module)) or fallback
        else:
            held = _constructed_line(modules, path, constructor)
            lines[path] = held or lines.get(above) or _class_line(type(module))
    return {path: source_line for path, source_line in lines.items() if source_line is not None}


def _constructed_line(
    modules: Mapping[str, nn.Module], path: str, constructor: Callable[[type], _Constructor | None]
) -> Place | None:
    """The line in the class of the module above, or of the container above it, that makes a module."""
    above, _, name = path.rpartition(".")
    parent = modules.get(above)
    if isinstance(parent, nn.Sequential | nn.ModuleList) and above:
        return _element_line(modules, path, constructor)
    init = None if parent is None else constructor(type(parent))
    if init is None:
        return None
    assigned = _choose(init.assigned.get(name, ()), modules[path])
    return init.source_line if assigned is None else assigned.source_line


def _element_line(
    modules: Mapping[str, nn.Module], path: str, constructor: Callable[[type], _Constructor | None]
) -> Place | None:
    """The line of an element that is written out in the assignment of its container."""
    container, _, index = path.rpartition(".")
    above, _, name = container.rpartition(".")
    init = constructor(type(modules[above])) if above in modules else None
    if init is None:
        return None
    assigned = _choose(init.assigned.get(name, ()), modules[container])
    if assigned is None or assigned.value is None or not index.isdecimal():
        return None
    elements = _elements(assigned.value)
    return Place(assigned.source_line.file, elements[int(index)].lineno) if int(index) < len(elements) else None


def _elements(value: ast.expr) -> Sequence[ast.expr]:
    """Elements of a call such as ``Sequential(a, b)`` or ``ModuleList([a, b])``; none where not all are there."""
    listed: Sequence[ast.expr] = value.args if isinstance(value, ast.Call) else ()
    if len(listed) == 1 and isinstance(listed[0], ast.List | ast.Tuple):
        listed = listed[0].elts
    return () if any(isinstance(item, ast.Starred) for item in listed) else listed


def _choose(several: Sequence[_Assignment], module: nn.Module) -> _Assignment | None:
    """The assignment, among several to a name, that calls the module's class; else the first."""
    called = (assignment for assignment in several if _callee(assignment.value) == type(module).__name__)
    return next(called, several[0] if several else None)


def _callee(value: ast.expr | None) -> str:
    if not isinstance(value, ast.Call):
        return ""
    function = value.func
    return (
        function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    )


def _constructors() -> Callable[[type], _Constructor | None]:
    """A function that reads the constructor of a class in the user's sources: each file and each class once."""
    functions = cache(_functions_of)

    @cache
    def find(kind: type) -> _Constructor | None:
        owners = [base for base in kind.__mro__ if "__init__" in vars(base)]
        inits = [init for owner in owners if (init := _constructor(vars(owner)["__init__"], functions)) is not None]
        assigned = {name: several for init in reversed(inits) for name, several in init.assigned.items()}
        return _Constructor(inits[0].source_line, assigned) if inits else None

    return find


def _constructor(init: Any, functions: Callable[[str], _Functions]) -> _Constructor | None:
    """Assignments of an `__init__` of the user's; None for any other."""
    function = inspect.unwrap(init)
    source_line = _code_line(function.__code__) if isinstance(function, FunctionType) else None
    if source_line is None:
        return None
    node = functions(function.__code__.co_filename).get(source_line.line)
    return _Constructor(source_line, {} if node is None else _assignments(node, source_line.file))


def _functions_of(file: str) -> _Functions:
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError, RecursionError):
        return {}
    definitions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return {min([node.lineno, *(item.lineno for item in node.decorator_list)]): node for node in definitions}


def _assignments(init: ast.FunctionDef, file: str) -> dict[str, list[_Assignment]]:
    """The attributes of its first argument that a function assigns."""
    arguments = [*init.args.posonlyargs, *init.args.args]
    own = arguments[0].arg if arguments else ""
    assigned: dict[str, list[_Assignment]] = {}
    for node in ast.walk(init):
        for target, value in _targets(node):
            if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == own:
                assigned.setdefault(target.attr, []).append(_Assignment(Place(file, target.lineno), value))
    return {name: sorted(several, key=lambda item: item.source_line.line) for name, several in assigned.items()}


def _targets(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr | None]]:
    """Targets of an assignment, with the value where there is a single target."""
    if isinstance(node, ast.AnnAssign):
        yield node.target, node.value
    for target in node.targets if isinstance(node, ast.Assign) else ():
        if isinstance(target, ast.Tuple | ast.List):
            yield from ((item, None) for item in target.elts)
        elif isinstance(node, ast.Assign):
            yield target, node.value


def _class_line(kind: type) -> Place | None:
    module = sys.modules.get(kind.__module__)
    file = None if module is None else vars(module).get("__file__")
    if not isinstance(file, str) or not is_users(file):
        return None
    try:
        return Place(os.path.abspath(file), inspect.getsourcelines(kind)[1])
    except (OSError, TypeError, SyntaxError):
        return None


def _code_line(code: CodeType) -> Place | None:
    file = code.co_filename
    return Place(os.path.abspath(file), code.co_firstlineno) if is_users(file) else None
