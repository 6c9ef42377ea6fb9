"""The command line: parsing only. Every command imports what it needs when it runs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fanwise._version import __version__
from fanwise.cli import output as console

if TYPE_CHECKING:
    from fanwise.targets.commands import Commands
    from fanwise.targets.resolved import ResolvedTarget

app = typer.Typer(
    cls=console.CommandGroup,
    context_settings={"max_content_width": 100},
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # boxes around the help take as long as NumPy to import
)


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
    str | None,
    typer.Option(metavar="NAME", help="As cross_entropy: of torch.nn.functional or keras.losses; or file.py:function."),
]
Optimizer = Annotated[str | None, typer.Option(help="What will train it, such as adam:1e-3.")]
Seeds = Annotated[int, typer.Option(help="How often a factory is built and run.")]
Codes = Annotated[str | None, typer.Option(metavar="CODES", help="Rules or beginnings of codes, as FWD,LOS001.")]
Recipe = Annotated[str, typer.Option(help="Which recipe: fanwise list recipes.")]
Traceback = Annotated[bool, typer.Option("--traceback", help="If the model cannot be run, the whole traceback.")]


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

    with console.usage_errors():
        recipe = room.recipe_for(depth, epochs=epochs, learning_rate=learning_rate, clip=clip)
        network = room.Network(depth, width, nonlinearity.value)
        order = room.order_of(network, recipe, data=data, seeds=seeds, names=start or (), scale=scale)
        workers = room.checked_processes(processes)
        console.check_writable(html)
    results = console.with_progress(order, workers)
    console.show(room.summary(results), room.jsonable(results), json=json)
    console.write_report(results, html)


@app.command()
def gain(
    name: Annotated[str, typer.Argument(help='A nonlinearity, such as gelu or "leaky_relu(0.2)".')],
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Print a nonlinearity's gains: the factor on the std of the weights that keeps a deep network's scale."""
    from fanwise.cli import reference  # noqa: PLC0415

    with console.usage_errors():
        item, values = reference.gain_page(name)
    console.show(item, values, json=json)


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
    with console.usage_errors():
        for option, path in {"--html": html, "--svg": svg}.items():
            if path is not None:
                console.check_writable(path, option)
        from fanwise.theory.meanfield import pages  # noqa: PLC0415

        document, values = pages.theory_page(name, sigma_b=sigma_b, depth=depth, width=width)
        if svg is not None:
            from fanwise.report.figure import write_figure  # noqa: PLC0415

            typer.echo(f"charts: {write_figure(pages.all_charts(document), svg)}", err=True)
        if html is not None:
            from fanwise.report.html import write_html  # noqa: PLC0415

            typer.echo(f"report: {write_html(document, html)}", err=True)
    console.show(document, values, json=json)


@app.command(name="list")
def list_(
    registry: Annotated[Registry, typer.Argument(help="Which registry.")],
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List the initializers, the nonlinearities, the recipes or the rules of check."""
    from fanwise.cli import reference  # noqa: PLC0415

    pages = {
        Registry.initializers: reference.initializers_page,
        Registry.nonlinearities: reference.nonlinearities_page,
        Registry.recipes: reference.recipes_page,
        Registry.rules: reference.rules_page,
    }
    item, values = pages[registry]()
    console.show(item, values, json=json)


@app.command()
def plan(
    target: Target,
    *,
    inputs: Input = None,
    recipe: Recipe = "unit",
    against: Annotated[str | None, typer.Option(help="Show what differs from this other recipe.")] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Keep these as they are, as encoder.* or trained; may be repeated."),
    ] = None,
    toml: Annotated[Path | None, typer.Option(help="Write the plan to this file.")] = None,
    meta: Annotated[bool, typer.Option("--meta", help="Build the model without memory; moments by theory.")] = False,
    full: Annotated[bool, typer.Option("--full", help="One line a parameter, repeated blocks not folded.")] = False,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    traceback: Traceback = False,
) -> None:
    """Print the law of every parameter of a model of PyTorch, JAX or Keras, and why."""
    with console.usage_errors(), console.model_errors(traceback=traceback):
        if toml is not None:
            console.check_writable(toml, "--toml")
        from fanwise.plan.render.jsonable import plan_jsonable  # noqa: PLC0415

        with _asked("planning", {"target": target, "inputs": inputs}, meta=meta) as (resolved, commands, _):
            recipes = [recipe] if against is None else [recipe, against]
            plan_made, *others = commands.planned(resolved, recipes, meta=meta, keep=keep or ())
        change = others[0].diff(plan_made) if others else None
        if toml is not None:
            toml.write_text(plan_made.to_toml(), encoding="utf-8")
    item = plan_made.table(full=full, width=console.width()) if change is None else change.table(full=full)
    values = plan_jsonable(plan_made.headings, plan_made.rows, None if change is None else change.changes)
    console.show(item, values, json=json)


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
    traceback: Traceback = False,
) -> None:
    """Check a model of PyTorch, JAX or Keras at step zero: where it is unhealthy, why, and what mends it.

    Exit codes: 0 clean, 1 findings at or above --fail-on, 2 wrong arguments, 3 the model could not be run.
    """
    with console.usage_errors(), console.model_errors(traceback=traceback):
        files = {"--sarif": sarif, "--html": html, "--baseline": baseline if write_baseline else None}
        for option, path in files.items():
            if path is not None:
                console.check_writable(path, option)
        if write_baseline and baseline is None:
            raise ValueError("--write-baseline needs a file: --baseline FILE")
        known = None if baseline is None or write_baseline else console.known(baseline)
        what = {"target": target, "data": data, "inputs": inputs, "loss": loss, "optimizer": optimizer, "seeds": seeds}
        chosen: dict[str, Any] = {"select": console.codes(select), "ignore": console.codes(ignore)}
        chosen["fail_on"] = console.severity(fail_on.value)
        with _asked("checking", what | chosen) as (asked, commands, progress):
            report = commands.checked(asked, progress)
        shown = console.finished(report, known, baseline if write_baseline else None)
        console.write_files(shown, sarif, html)
    console.show_report(shown, json=json, full=full)
    if not shown.ok and fail_on is not FailOn.never and not write_baseline:
        raise typer.Exit(console.FINDINGS)


@app.command()
def explain(
    code: Annotated[str, typer.Argument(help="Of a rule, such as FWD001: fanwise list rules.")],
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Explain a rule of check: what it looks at, why that matters, what mends it, and how often it is wrong."""
    from fanwise.cli import reference  # noqa: PLC0415

    with console.usage_errors():
        item, values = reference.rule_page(code)
    console.show(item, values, json=json)


@app.command()
def fix(  # noqa: PLR0913  (one parameter an option)
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
    traceback: Traceback = False,
) -> None:
    """Print what would mend a model: laws before and after, and code to paste. No file is changed."""
    with console.usage_errors(), console.model_errors(traceback=traceback):
        chosen = {"select": console.codes(select), "ignore": console.codes(ignore)}
        what = {"target": target, "data": data, "inputs": inputs, "loss": loss, "optimizer": optimizer, "seeds": seeds}
        with _asked("checking", what | chosen) as (asked, commands, progress):
            report, mending = commands.fixed(asked, recipe, progress)
    console.show(mending.document(width=console.width()), None, json=False)
    if mending.code:
        typer.echo(f"\n{mending.code}", nl=False)
    if not diff:
        typer.echo("fanwise: no file was changed: paste the code behind the line that makes the model", err=True)
    if report.findings and not mending and not report.ok:
        raise typer.Exit(console.FINDINGS)


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
    write: Annotated[
        Path | None, typer.Option(help="Write the weights: .safetensors; .weights.h5 or .keras of Keras.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    traceback: Traceback = False,
) -> None:
    """Scale a model's weights on data in one forward pass, built from seed 0, and show by how much."""
    with console.usage_errors(), console.model_errors(traceback=traceback):
        if write is not None:
            console.check_writable(write, "--write")
        from fanwise.calibrate.jsonable import jsonable  # noqa: PLC0415

        options = {"mode": mode, "gain_after": gain_after, "balance": balance}
        what = {"target": target, "data": data, "inputs": inputs, "loss": loss}
        with _asked("calibrating", what) as (asked, commands, _):
            if write is not None and not write.name.endswith(commands.endings):
                ends = " or ".join(commands.endings)
                raise ValueError(f"--write {str(write)!r}: expected a name that ends in {ends}")
            model, result = commands.calibrated(asked, options)
            if write is not None:
                commands.write_weights(model, write)
    console.show(result.table(width=console.width()), jsonable(result), json=json)


@contextmanager
def _asked(
    doing: str, order: Mapping[str, Any], *, meta: bool = False
) -> "Iterator[tuple[ResolvedTarget, Commands, Callable[[str], None]]]":
    """An order with its files loaded, the commands of its framework, and what is told of their progress.

    What the target's code prints while it is loaded, built and run goes to stderr: stdout is for what was asked for.
    """
    from fanwise.targets.commands import commands  # noqa: PLC0415
    from fanwise.targets.names import prints_on_stderr  # noqa: PLC0415
    from fanwise.targets.order import Order  # noqa: PLC0415
    from fanwise.targets.resolved import resolve  # noqa: PLC0415

    wanted = Order(**order)
    with prints_on_stderr(), console.while_it_takes(doing) as progress:
        resolved = resolve(wanted, meta=meta)
        yield resolved, commands(resolved.framework), progress
