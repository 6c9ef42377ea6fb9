"""Settings for the whole suite."""

import os
import shutil
import sys

import pytest

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # matrices here are small: BLAS threads that wait for each other cost up to 100 x

NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """The command in this process, called in a folder of its own: gives exit code, stdout and stderr."""
    from fanwise.cli import app  # noqa: PLC0415  (as late as a user's)

    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        modules = set(sys.modules)
        code = app(list(arguments), standalone_mode=False)
        for name in {"train", "fanwise target train"} & (set(sys.modules) - modules):
            del sys.modules[name]
        return code or 0, *capsys.readouterr()

    return call


@pytest.fixture(scope="session")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install 'fanwise[test]'")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no browser on PATH, looked for {', '.join(NAMES)}")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(QUIET))
        yield browser
        browser.close()
