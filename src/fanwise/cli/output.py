"""What the commands show, write and say, and their exit codes."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import format_exception
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

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


class CommandGroup(TyperGroup):
    """Commands whose list in --help says the whole sentence about each, wrapped and not cut."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Writes the list of commands."""
        rows = [(name, command.help or "") for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl([(name, text.partition("\n\n")[0]) for name, text in rows])


@contextmanager
def usage_errors() -> Iterator[None]:
    """Turns what the arguments got wrong into one line and exit code 2."""
    try:
        yield
    except (ValueError, TypeError, ArithmeticError, OSError, ImportError) as error:
        typer.echo(f"fanwise: error: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(USAGE_ERROR) from None


@contextmanager
def model_errors(*, traceback: bool = False) -> Iterator[None]:
    """Turns a model that does not run into one line and exit code 3, after its traceback where that is wanted."""
    try:
        yield
    except RuntimeError as error:
        if traceback:
            typer.echo("".join(format_exception(error)), err=True, nl=False)
        typer.echo(f"fanwise: error: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(MODEL_ERROR) from None


def width() -> int:
    """Letters in a line of the terminal."""
    from rich.console import Console  # noqa: PLC0415

    return Console().width


def check_writable(path: Path, option: str = "--html") -> None:
    """Refuses a path that cannot be written before the work begins, not after it."""
    if path.is_dir():
        raise ValueError(f"{option} {str(path)!r} is a folder: expected a file")
    if not path.absolute().parent.is_dir() or not os.access(path.absolute().parent, os.W_OK):
        raise ValueError(f"{option} {str(path)!r}: its folder does not exist or cannot be written")


def with_progress(order: "Order", workers: int) -> "Results":
    """Runs the demo under a progress bar on stderr, which is off where that is no terminal."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("training", total=len(order.jobs))
        return order.run(processes=workers, on_job=lambda: progress.advance(task))


@contextmanager
def while_it_takes(doing: str) -> Iterator[Callable[[str], None]]:
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


def codes(text: str | None) -> tuple[str, ...]:
    """Codes with commas or spaces between them."""
    return tuple((text or "").replace(",", " ").upper().split())


def severity(fail_on: str) -> "Severity":
    """From which severity on a report is not ok; the gravest where nothing is to fail."""
    from fanwise.check.findings import SEVERITIES  # noqa: PLC0415

    return next((severity for severity in SEVERITIES if severity == fail_on), SEVERITIES[0])


def known(baseline: Path) -> frozenset[tuple[str, str]]:
    """What a file of known findings holds.

    Raises:
        ValueError: there is no such file, or it is none of ours.
    """
    from fanwise.check.baseline import from_baseline  # noqa: PLC0415

    if not baseline.is_file():
        raise ValueError(f"--baseline {str(baseline)!r}: no such file, --write-baseline makes one")
    try:
        return from_baseline(baseline.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"--baseline {str(baseline)!r}: {error}") from None


def finished(report: "Report", known: frozenset[tuple[str, str]] | None, written: Path | None) -> "Report":
    """The report without what is known, or with its findings written down as known."""
    from fanwise.check.baseline import to_baseline, without  # noqa: PLC0415

    if written is not None:
        written.write_text(to_baseline(report), encoding="utf-8")
        typer.echo(f"baseline: {written}", err=True)
    return report if known is None else without(report, known)


def write_files(report: "Report", sarif: Path | None, html: Path | None) -> None:
    """Writes a check's report to the files that are asked for, and says so on stderr."""
    if sarif is not None:
        sarif.write_text(report.to_sarif(), encoding="utf-8")
        typer.echo(f"sarif: {sarif}", err=True)
    if html is not None:
        typer.echo(f"report: {report.html(html)}", err=True)


def show_report(report: "Report", *, json: bool, full: bool) -> None:
    """Prints a check's report to stdout."""
    if json:
        sys.stdout.write(report.to_json())
        return
    from rich.console import Console  # noqa: PLC0415

    from fanwise.check.render.table import document  # noqa: PLC0415
    from fanwise.report.terminal import render  # noqa: PLC0415

    console = Console()
    render(document(report, full=full, width=console.width), console)


def show(item: "Item", values: object, *, json: bool) -> None:
    """Prints a report to stdout, or the values behind it as JSON."""
    if json:
        from fanwise.report.jsonable import to_json  # noqa: PLC0415

        sys.stdout.write(to_json(values))
        return
    from rich.console import Console  # noqa: PLC0415

    from fanwise.report.terminal import render  # noqa: PLC0415

    render(item, Console())


def write_report(results: "Results", path: Path) -> None:
    """Writes the demo's page, and says so on stderr."""
    from fanwise.lab.pages import document  # noqa: PLC0415
    from fanwise.report.html import write_html  # noqa: PLC0415

    written = write_html(document(results), path)
    typer.echo(f"report: {written}", err=True)
