"""`python -m bench`: every benchmark is listed, and can be run by its name."""

import pytest

from bench.__main__ import benchmarks, listing, main


def test_each_benchmark_has_a_line_and_a_main():
    for name, file in benchmarks().items():
        text = file.read_text(encoding="utf-8")
        assert "def main()" in text, name
        assert f"python -m bench {name}" in text, name
        assert next(line for line in listing().splitlines() if line.startswith(f"{name} ")).split(maxsplit=1)[1]


def test_without_a_name_all_are_listed(capsys):
    assert main([]) == 0
    assert {line.split()[0] for line in capsys.readouterr().out.splitlines()[2:]} == set(benchmarks())


def test_an_unknown_name_is_answered_with_those_there_are(capsys):
    assert main(["speed"]) == 2
    assert "no benchmark 'speed'; there are apply_time," in capsys.readouterr().err


@pytest.mark.slow
def test_a_benchmark_runs_with_its_arguments(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", [])
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed")
    assert main(["false_alarms", "--seeds", "1", "--only", "mlp_he_3", "--split", "tuned"]) == 0
    shown = capsys.readouterr().out
    assert "planted cause first" in shown
    assert "1 seeds each" in shown
