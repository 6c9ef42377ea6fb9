"""The command line: parsing only. Every command imports what it needs when it runs."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fanwise._version import __version__

if TYPE_CHECKING:
    from fanwise.check.findings import Severity
    from fanwise.check.report import Report
    from fanwise.lab.demo import Order
    from fanwise.lab.pages import Results
    from fanwise.report.terminal import Item

FINDINGS = 1
"""Exit code for findings at or above --fail-on; 0 is clean."""
USAGE_ERROR = 2
"""Exit code for arguments that cannot be."""
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
    rules = "rules"


class FailOn(StrEnum):
    """From which severity on findings make the exit code 1."""

    error = "error"
    warning = "warning"
    info = "info"
    never = "never"


MODEL = "file.py:factory, package.module:factory, hf:ConfigClass(...) or a config.json"

Target = Annotated[str, typer.Argument(help=f"{MODEL}.")]
CheckTarget = Annotated[str, typer.Argument(help=f"{MODEL}; or a .safetensors file, weights alone.")]
Input = Annotated[str | None, typer.Option("--input", help="Such as 32,3,224,224 or input_ids=8,128:int64[0,50257).")]
Data = Annotated[
    str | None,
    typer.Option(metavar="FILE.PY:NAME", help="A batch, a function that returns one, or a loader: its first batch."),
]
Loss = Annotated[
    str | None, typer.Option(metavar="NAME", help="Of torch.nn.functional, as cross_entropy; or file.py:function.")
]
Optimizer = Annotated[str | None, typer.Option(help="What will train it, such as adam:1e-3.")]
Seeds = Annotated[int, typer.Option(help="How often a factory is built and run.")]
Codes = Annotated[str | None, typer.Option(metavar="CODES", help="Rules or beginnings of codes, as FWD,LOS001.")]
Recipe = Annotated[str, typer.Option(help="Which recipe: fanwise list recipes.")]


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


@app.command()
def theory(
    name: Annotated[str, typer.Argument(help='A nonlinearity, such as gelu or "leaky_relu(0.2)".')],
    *,
    sigma_b: Annotated[float, typer.Option(help="Std of the biases at the edge of chaos.")] = 0.05,
    depth: Annotated[int, typer.Option(help="Layers of the network.")] = 50,
    width: Annotated[int, typer.Option(help="Units of each layer.")] = 256,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write the page as HTML.")] = None,
    svg: Annotated[Path | None, typer.Option(help="Draw the charts: .svg, .png or .pdf (needs matplotlib).")] = None,
) -> None:
    """Print what mean-field theory says of a nonlinearity in a deep network: gains, stability, depth scales, maps."""
    with _usage_errors():
        for option, path in {"--html": html, "--svg": svg}.items():
            if path is not None:
                _check_writable(path, option)
        from fanwise.theory import pages  # noqa: PLC0415

        document, values = pages.theory_page(name, sigma_b=sigma_b, depth=depth, width=width)
        if svg is not None:
            from fanwise.report.figure import write_figure  # noqa: PLC0415

            typer.echo(f"charts: {write_figure(pages.all_charts(document), svg)}", err=True)
        if html is not None:
            from fanwise.report.html import write_html  # noqa: PLC0415

            typer.echo(f"report: {write_html(document, html)}", err=True)
    _show(document, values, json=json)


@app.command(name="list")
def list_(
    registry: Annotated[Registry, typer.Argument(help="Which registry.")],
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List the initializers, the nonlinearities, the recipes or the rules of check."""
    from fanwise import reference  # noqa: PLC0415

    pages = {
        Registry.initializers: reference.initializers_page,
        Registry.nonlinearities: reference.nonlinearities_page,
        Registry.recipes: reference.recipes_page,
        Registry.rules: reference.rules_page,
    }
    item, values = pages[registry]()
    _show(item, values, json=json)


@app.command()
def plan(
    target: Target,
    *,
    inputs: Input = None,
    recipe: Recipe = "unit",
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


@app.command()
def check(  # noqa: PLR0913  (one parameter an option)
    target: CheckTarget,
    *,
    data: Data = None,
    inputs: Input = None,
    loss: Loss = None,
    optimizer: Optimizer = None,
    seeds: Seeds = 3,
    select: Codes = None,
    ignore: Codes = None,
    fail_on: Annotated[FailOn, typer.Option(help="Exit code 1 from this severity on.")] = FailOn.error,
    baseline: Annotated[Path | None, typer.Option(help="File of known findings, which are left out.")] = None,
    write_baseline: Annotated[bool, typer.Option("--write-baseline", help="Write what is found to it.")] = False,
    json: Annotated[bool, typer.Option("--json", help="The report as JSON on stdout, no table.")] = False,
    sarif: Annotated[Path | None, typer.Option(help="Write the report as SARIF, for code hosts.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the report as a page.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Every layer, and what follows from each finding.")] = False,
) -> None:
    """Check a PyTorch model at step zero: where it is unhealthy, why, and what mends it.

    Exit codes: 0 clean, 1 findings at or above --fail-on, 2 wrong arguments, 3 the model could not be run.
    """
    with _usage_errors(), _model_errors():
        files = {"--sarif": sarif, "--html": html, "--baseline": baseline if write_baseline else None}
        for option, path in files.items():
            if path is not None:
                _check_writable(path, option)
        if write_baseline and baseline is None:
            raise ValueError("--write-baseline needs a file: --baseline FILE")
        known = None if baseline is None or write_baseline else _known(baseline)
        from fanwise.torch.check_commands import Order, checked  # noqa: PLC0415

        chosen = (_codes(select), _codes(ignore), _severity(fail_on))
        order = Order(target, data, inputs, loss, optimizer, seeds, *chosen)
        with _while_it_takes("checking") as progress:
            report = checked(order, progress)
        found = _finished(report, known, baseline if write_baseline else None)
        _write_files(found, sarif, html)
    _show_report(found, json=json, full=full)
    if not found.ok and fail_on is not FailOn.never and not write_baseline:
        raise typer.Exit(FINDINGS)


@app.command()
def explain(
    code: Annotated[str, typer.Argument(help="Of a rule, such as FWD001: fanwise list rules.")],
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Explain a rule of check: what it looks at, why that matters, what mends it, and how often it is wrong."""
    from fanwise import reference  # noqa: PLC0415

    with _usage_errors():
        item, values = reference.rule_page(code)
    _show(item, values, json=json)


@app.command()
def fix(
    target: Target,
    *,
    data: Data = None,
    inputs: Input = None,
    loss: Loss = None,
    optimizer: Optimizer = None,
    seeds: Seeds = 3,
    select: Codes = None,
    ignore: Codes = None,
    recipe: Recipe = "unit",
    diff: Annotated[bool, typer.Option("--diff", help="Say that nothing is to be written; nothing ever is.")] = False,
) -> None:
    """Print what would mend a model: laws before and after, and PyTorch code to paste. No file is changed."""
    with _usage_errors(), _model_errors():
        from fanwise.torch.check_commands import Order, fixed  # noqa: PLC0415

        order = Order(target, data, inputs, loss, optimizer, seeds, _codes(select), _codes(ignore))
        with _while_it_takes("checking") as progress:
            report, mending = fixed(order, recipe, progress)
    _show(mending.document(width=_width()), None, json=False)
    if mending.code:
        typer.echo(f"\n{mending.code}", nl=False)
    if not diff:
        typer.echo("fanwise: no file was changed: paste the code behind the line that makes the model", err=True)
    if report.findings and not mending and not report.ok:
        raise typer.Exit(FINDINGS)


@app.command()
def calibrate(
    target: Target,
    *,
    data: Data = None,
    inputs: Input = None,
    loss: Loss = None,
    mode: Annotated[str, typer.Option(help="layer: each op as a whole; channel: each unit.")] = "layer",
    gain_after: Annotated[bool, typer.Option("--gain-after", help="Targets hold after activations.")] = False,
    balance: Annotated[bool, typer.Option("--balance", help="Equal ratios of gradient to weight.")] = False,
    write: Annotated[Path | None, typer.Option(help="Write the calibrated weights: .safetensors.")] = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Scale a PyTorch model's weights on data in one forward pass, built from seed 0, and show by how much."""
    with _usage_errors(), _model_errors():
        if write is not None:
            _check_writable(write, "--write")
        from fanwise.torch import calibrate_commands as commands  # noqa: PLC0415
        from fanwise.torch.check_commands import Order  # noqa: PLC0415

        options = {"mode": mode, "gain_after": gain_after, "balance": balance}
        found = commands.calibrated(Order(target, data, inputs, loss), options)
        if write is not None:
            commands.write_weights(found, write)
    _show(found.result.table(width=_width()), commands.jsonable(found.result), json=json)


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


@contextmanager
def _while_it_takes(doing: str) -> Iterator[Callable[[str], None]]:
    """Says on stderr what is being done, from the first second on; nothing where that is no terminal."""
    from threading import Timer  # noqa: PLC0415

    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress, SpinnerColumn, TextColumn  # noqa: PLC0415

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda text: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"))
    bar = Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)
    task = bar.add_task(doing, total=None)
    late = Timer(1.0, bar.start)
    late.start()
    try:
        yield lambda text: bar.update(task, description=text)
    finally:
        late.cancel()
        late.join()
        if bar.live.is_started:
            bar.stop()


def _codes(text: str | None) -> tuple[str, ...]:
    """Codes with commas or spaces between them."""
    return tuple((text or "").replace(",", " ").upper().split())


def _severity(fail_on: FailOn) -> "Severity":
    """From which severity on a report is not ok; the gravest where nothing is to fail."""
    from fanwise.check.findings import SEVERITIES  # noqa: PLC0415

    return next((severity for severity in SEVERITIES if severity == fail_on.value), SEVERITIES[0])


def _known(baseline: Path) -> frozenset[tuple[str, str]]:
    from fanwise.check.baseline import from_baseline  # noqa: PLC0415

    if not baseline.is_file():
        raise ValueError(f"--baseline {str(baseline)!r}: no such file, --write-baseline makes one")
    try:
        return from_baseline(baseline.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"--baseline {str(baseline)!r}: {error}") from None


def _finished(report: "Report", known: frozenset[tuple[str, str]] | None, written: Path | None) -> "Report":
    """The report without what is known, or with its findings written down as known."""
    from fanwise.check.baseline import to_baseline, without  # noqa: PLC0415

    if written is not None:
        written.write_text(to_baseline(report), encoding="utf-8")
        typer.echo(f"baseline: {written}", err=True)
    return report if known is None else without(report, known)


def _write_files(report: "Report", sarif: Path | None, html: Path | None) -> None:
    if sarif is not None:
        sarif.write_text(report.to_sarif(), encoding="utf-8")
        typer.echo(f"sarif: {sarif}", err=True)
    if html is not None:
        typer.echo(f"report: {report.html(html)}", err=True)


def _show_report(report: "Report", *, json: bool, full: bool) -> None:
    """Prints a check's report to stdout."""
    if json:
        sys.stdout.write(report.to_json())
        return
    from rich.console import Console  # noqa: PLC0415

    from fanwise.check.table import document  # noqa: PLC0415
    from fanwise.report.terminal import render  # noqa: PLC0415

    console = Console()
    render(document(report, full=full, width=console.width), console)


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
