"""The command line: parsing only. Every command imports what it needs when it runs."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fanwise._version import __version__

if TYPE_CHECKING:
    from fanwise.lab.demo import Order
    from fanwise.lab.pages import Results
    from fanwise.report.terminal import Item

USAGE_ERROR = 2
"""Exit code for arguments that cannot be; 0 is clean, 1 findings."""
MODEL_ERROR = 3
"""Exit code for a model that could not be run."""

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


class Nonlinearity(StrEnum):
    """Those that the lab's network has."""

    relu = "relu"
    tanh = "tanh"
    sigmoid = "sigmoid"
    gelu = "gelu"


class Registry(StrEnum):
    """What `fanwise list` lists."""

    initializers = "initializers"
    nonlinearities = "nonlinearities"
    recipes = "recipes"


def main() -> None:
    """Entry point of the `fanwise` command."""
    app()


def _version(asked: bool) -> None:
    if asked:
        from fanwise.stream.native import ISA  # noqa: PLC0415

        typer.echo(f"fanwise {__version__}  stream v1 ({ISA})")
        raise typer.Exit


@app.callback()
def fanwise(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Version, and which stream is in use.")
    ] = False,
) -> None:
    """Initialise the weights of any neural network right, and show that they are right."""


@app.command()
def demo(  # noqa: PLR0913  (one parameter an option)
    *,
    depth: Annotated[int, typer.Option(help="Weight layers, the output layer counted.")] = 3,
    width: Annotated[int, typer.Option(help="Units of each hidden layer.")] = 100,
    nonlinearity: Annotated[Nonlinearity, typer.Option(help="Of the hidden layers.")] = Nonlinearity.relu,
    start: Annotated[
        list[str] | None, typer.Option(help="Only this start; may be repeated. With --scale: the one to scale.")
    ] = None,
    scale: Annotated[
        str | None, typer.Option(metavar="LOW:HIGH", help="Only sweep a factor on one start (he), as in 0.01:100.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="IDX file or folder (plain or .gz) or .npz instead of the digits we ship.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Trainings of each start.")] = 3,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data: 10, or 20 from 10 layers on.")] = None,
    learning_rate: Annotated[float, typer.Option(help="Of SGD with momentum 0.9.")] = 0.01,
    clip: Annotated[float | None, typer.Option(help="Largest gradient norm: none, or 1 from 10 layers on.")] = None,
    processes: Annotated[int | None, typer.Option(help="Trainings at once: one a core.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Everything measured as JSON on stdout, no table.")] = False,
    html: Annotated[Path, typer.Option(help="Where to write the report.")] = Path("report.html"),
) -> None:
    """Train one small network from many starts, and show what each start does and why."""
    from fanwise.lab import demo as room  # noqa: PLC0415

    with _usage_errors():
        recipe = room.recipe_for(depth, epochs=epochs, learning_rate=learning_rate, clip=clip)
        network = room.Network(depth, width, nonlinearity.value)
        order = room.order_of(network, recipe, data=data, seeds=seeds, names=start or (), scale=scale)
        workers = room.checked_processes(processes)
        _check_writable(html)
    results = _with_progress(order, workers)
    _show(room.summary(results), room.jsonable(results), json=json)
    _write_report(results, html)


@app.command()
def gain(
    name: Annotated[str, typer.Argument(help='A nonlinearity, such as gelu or "leaky_relu(0.2)".')],
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Print a nonlinearity's gains: the factor on the std of the weights that keeps a deep network's scale."""
    from fanwise import reference  # noqa: PLC0415

    with _usage_errors():
        item, values = reference.gain_page(name)
    _show(item, values, json=json)


@app.command(name="list")
def list_(
    registry: Annotated[Registry, typer.Argument(help="Which registry.")],
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List the initializers, the nonlinearities or the recipes, with their sources."""
    from fanwise import reference  # noqa: PLC0415

    pages = {
        Registry.initializers: reference.initializers_page,
        Registry.nonlinearities: reference.nonlinearities_page,
        Registry.recipes: reference.recipes_page,
    }
    item, values = pages[registry]()
    _show(item, values, json=json)


@app.command()
def plan(
    target: Annotated[
        str, typer.Argument(help="file.py:factory, package.module:factory, hf:ConfigClass(...) or a config.json.")
    ],
    *,
    inputs: Annotated[
        str | None, typer.Option("--input", help="Such as 32,3,224,224 or input_ids=8,128:int64[0,50257).")
    ] = None,
    recipe: Annotated[str, typer.Option(help="Which recipe: fanwise list recipes.")] = "unit",
    against: Annotated[str | None, typer.Option(help="Show what differs from this other recipe.")] = None,
    toml: Annotated[Path | None, typer.Option(help="Write the plan to this file.")] = None,
    meta: Annotated[bool, typer.Option("--meta", help="Build the model without memory; moments by theory.")] = False,
    full: Annotated[bool, typer.Option("--full", help="One line a parameter, repeated blocks not folded.")] = False,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Print the law of every parameter of a PyTorch model, and why."""
    with _usage_errors(), _model_errors():
        if toml is not None:
            _check_writable(toml, "--toml")
        from fanwise.torch import commands  # noqa: PLC0415

        made, *others = commands.planned(target, inputs, [recipe] if against is None else [recipe, against], meta=meta)
        change = others[0].diff(made) if others else None
        if toml is not None:
            toml.write_text(made.to_toml(), encoding="utf-8")
    item = made.table(full=full, width=_width()) if change is None else change.table(full=full)
    _show(item, commands.jsonable(made, change), json=json)


@contextmanager
def _usage_errors() -> Iterator[None]:
    """Turns what the arguments got wrong into one line and exit code 2."""
    try:
        yield
    except (ValueError, TypeError, ArithmeticError, OSError, ImportError) as error:
        typer.echo(f"fanwise: error: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(USAGE_ERROR) from None


@contextmanager
def _model_errors() -> Iterator[None]:
    """Turns a model that does not run into one line and exit code 3."""
    try:
        yield
    except RuntimeError as error:
        typer.echo(f"fanwise: error: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(MODEL_ERROR) from None


def _width() -> int:
    from rich.console import Console  # noqa: PLC0415

    return Console().width


def _check_writable(path: Path, option: str = "--html") -> None:
    """Refuses a path that cannot be written before the work begins, not after it."""
    if path.is_dir():
        raise ValueError(f"{option} {str(path)!r} is a folder: expected a file")
    if not path.absolute().parent.is_dir() or not os.access(path.absolute().parent, os.W_OK):
        raise ValueError(f"{option} {str(path)!r}: its folder does not exist or cannot be written")


def _with_progress(order: "Order", workers: int) -> "Results":
    """Runs the demo under a progress bar on stderr, which is off where that is no terminal."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("training", total=len(order.jobs))
        return order.run(processes=workers, on_job=lambda: progress.advance(task))


def _show(item: "Item", values: object, *, json: bool) -> None:
    """Prints a report to stdout, or the values behind it as JSON."""
    if json:
        from fanwise.report.jsonable import to_json  # noqa: PLC0415

        sys.stdout.write(to_json(values))
        return
    from rich.console import Console  # noqa: PLC0415

    from fanwise.report.terminal import render  # noqa: PLC0415

    render(item, Console())


def _write_report(results: "Results", path: Path) -> None:
    from fanwise.lab.pages import document  # noqa: PLC0415
    from fanwise.report.html import write_html  # noqa: PLC0415

    written = write_html(document(results), path)
    typer.echo(f"report: {written}", err=True)


if __name__ == "__main__":
    main()
