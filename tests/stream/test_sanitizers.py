"""The kernel's own C test under the compiler's sanitizers: no byte too far, nothing undefined, no race."""

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NATIVE = ROOT / "src" / "fanwise" / "stream" / "native"
COMMON = ["-g", "-O1", "-std=c11", "-ffp-contract=off", f"-I{NATIVE}"]
X86 = {
    "avx2": ["-mavx2", "-mf16c"],
    "avx512": ["-mavx512f", "-mavx512bw", "-mavx512cd", "-mavx512dq", "-mavx512vl", "-mf16c"],
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc, which compiles the test"),
    pytest.mark.skipif(
        platform.machine() not in ("x86_64", "AMD64"), reason="the paths named here are those of x86-64"
    ),
]


def compiled(folder, sanitizer):
    """The C test, one object a file, since every path has its own instruction set."""
    sources = {NATIVE / f"path_{isa}.c": options for isa, options in X86.items()}
    plain = [NATIVE / "path_portable.c", NATIVE / "kernel.c", ROOT / "tests" / "native" / "kernel_test.c"]
    for source, options in (sources | {source: [] for source in plain}).items():
        command = ["gcc", *COMMON, *sanitizer, *options, "-DFW_HAVE_X86", "-c", str(source)]
        subprocess.run(command, check=True, cwd=folder)
    objects = [str(path) for path in folder.glob("*.o")]
    subprocess.run(["gcc", *sanitizer, *objects, "-o", "kernel_test", "-lpthread", "-lm"], check=True, cwd=folder)
    return folder / "kernel_test"


@pytest.mark.parametrize(
    "sanitizer",
    [["-fsanitize=address,undefined", "-fno-sanitize-recover=all"], ["-fsanitize=thread"]],
    ids=["address and undefined behaviour", "threads"],
)
def test_no_report(tmp_path, sanitizer):
    done = subprocess.run([str(compiled(tmp_path, sanitizer))], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 failures\n", "")
