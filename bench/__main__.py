"""`python -m bench`: the benchmarks, a line each; `python -m bench NAME ...` runs one with its own arguments."""

import ast
import sys
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).parent


def benchmarks() -> dict[str, Path]:
    """The files of the benchmarks, by name."""
    files = (*HERE.glob("*.py"), *HERE.glob("stream/*.py"))
    return {file.stem: file for file in sorted(files) if not file.stem.startswith("__")}


def line(file: Path) -> str:
    """What a benchmark asks: the first line of its file."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


def listing() -> str:
    """All benchmarks, a line each."""
    return "\n".join(f"{name:20} {line(file)}" for name, file in benchmarks().items())


def main(arguments: list[str]) -> int:
    """The exit status of the benchmark that is named."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"python -m bench NAME [--help]\n\n{listing()}")
        return 0
    name, *rest = arguments
    if name not in benchmarks():
        print(f"no benchmark {name!r}; there are {', '.join(benchmarks())}", file=sys.stderr)
        return 2
    sys.argv = [f"python -m bench {name}", *rest]
    module = ".".join(benchmarks()[name].relative_to(HERE.parent).with_suffix("").parts)
    return import_module(module).main() or 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
