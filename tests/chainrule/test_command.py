"""``python -m fastbp explain``: its output, its files, networks from files, its errors."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest

from fastbp.__main__ import main
from fastbp.chainrule import load, worked_example


def run(capsys, *arguments):
    """Return status, output and errors of a command."""
    status = main(["explain", "--backend", "reference", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_without_arguments_the_worked_example(capsys):
    status, out, err = run(capsys)
    assert (status, err) == (0, "")
    assert "∂E/∂w₇ = ∂E/∂o₂ · ∂o₂/∂z⁽²⁾₂ · ∂z⁽²⁾₂/∂w₇" in out
    assert "w₇ ← w₇ − η · ∂E/∂w₇ = 0.5 − 0.5 · (−0.0226025405) = 0.51130127" in out


def test_a_weight_a_language_and_a_page(capsys, tmp_path):
    file = tmp_path / "page.html"
    status, out, _ = run(capsys, "--weight", "w5", "--lang", "ko", "--html", file, "--digits", 17)
    assert status == 0
    assert "가중치 w₅" in out
    assert "0.08216704056423078" in out
    assert f"written to {file}" in out
    page = file.read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert '<html lang="ko">' in page
    assert "0.08216704056423078" in page


def test_all_weights_and_several(capsys, tmp_path):
    status, out, _ = run(capsys, "--weight", "all", "--format", "chain", "--html", tmp_path / "all.html")
    assert status == 0
    assert out.count("∂E/∂b₄ =") == 1
    assert out.count("∂E/∂w₁ =") == 1
    assert (tmp_path / "all.html").read_text(encoding="utf-8").count('<article class="lesson') == 12
    status, out, _ = run(capsys, "--weight", "w7,b2", "--format", "latex")
    assert out.count(r"\begin{aligned}") == 2


def test_svg(capsys, tmp_path):
    assert run(capsys, "--svg", tmp_path / "a.svg")[0] == 0
    assert (tmp_path / "a.svg").read_text(encoding="utf-8").startswith("<svg")


@pytest.fixture
def saved(tmp_path):
    """The worked example's network as a file."""
    pytest.importorskip("safetensors")
    file = tmp_path / "net.safetensors"
    worked_example("reference").net.save(file)
    return file


def test_a_network_of_ones_own_as_safetensors(capsys, saved):
    beside = ("--x", "0.05, 0.10", "--y", "0.01, 0.99", "--loss", "HalfSquaredError")
    status, out, _ = run(capsys, saved, *beside, "--weight", "2.weight[0, 1]", "--digits", 17, "--lr", 0.5)
    assert status == 0
    assert "−0.022602540477475067" in out
    assert "0.5113012702387375" in out
    assert run(capsys, saved, *beside, "--format", "chain")[1].startswith("∂E/∂o₁")


def test_data_beside_a_network_in_rows_labels_and_arrays(capsys, saved, tmp_path):
    np.save(tmp_path / "x.npy", np.array([[0.05, 0.10], [0.2, 0.3]]))
    for x in ("[[0.05, 0.10], [0.2, 0.3]]", tmp_path / "x.npy"):
        status, out, _ = run(capsys, saved, "--x", x, "--y", "1, 0", "--loss", "CrossEntropy")
        assert status == 0
        assert "the sum over 2 samples" in out
    status, out, _ = run(capsys, saved, "--x", "0.05, 0.10", "--y", "1", "--loss", "CrossEntropy")
    assert status == 0
    assert "softmax" in out


def test_a_network_without_data_says_what_is_missing(capsys, saved):
    status, out, err = run(capsys, saved, "--x", "0.05, 0.10")
    assert (status, out) == (1, "")
    assert "there is no y, loss; expected net, x, y and loss, given beside the file" in err
    status, _, err = run(capsys, "--x", "1")
    assert status == 1
    assert "--x is given without a file" in err
    for text in ("a, b", "[[1, 2], [3]]", "1, [2]", '"1"', "missing.npy"):
        with pytest.raises(SystemExit):
            run(capsys, saved, "--x", text)
        assert "argument --x" in capsys.readouterr().err


def test_a_network_of_ones_own_as_python(capsys, tmp_path):
    file = tmp_path / "net.py"
    file.write_text("import fastbp as fb\n"
                    "net = fb.Sequential(fb.Linear(2, 3), fb.Tanh(), fb.Linear(3, 2), seed=0, backend='reference')\n"
                    "x, y, loss, lr = [[1.0, 2.0]], [1], fb.CrossEntropy(), 0.25\n")
    status, out, _ = run(capsys, file, "--weight", "w8")
    assert status == 0
    assert "η = 0.25" in out
    assert "softmax" in out


def test_data_given_beside_goes_before_that_of_a_program(capsys, tmp_path):
    file = tmp_path / "net.py"
    file.write_text("import fastbp as fb\n"
                    "net = fb.Sequential(fb.Linear(2, 1), dtype='float64', seed=0, backend='reference')\n"
                    "x, y, loss = [[1.0, 2.0]], [[1.0]], fb.MSE()\n")
    assert "∂o/∂w₁ = 2(o − t) · x₁" in run(capsys, file)[1].replace("\n      ", "")
    assert "x₁ = 7" in run(capsys, file, "--x", "7, 8", "--y", "1")[1]


def test_files_that_do_not_fit(tmp_path, capsys):
    for name, text, message in (("a.json", "{}", "networks are read from .safetensors files, as net.save writes them, "
                                 "and from Python files"), ("b.txt", "", "write a file that ends in .py, such as"),
                                ("d.py", "net = 1", "d.py: there is no x, y, loss; expected net, x, y and loss, "
                                 "such as"),
                                ("f.py", "net = 1\nx = net / 0\n", "f.py, line 2: ZeroDivisionError: division by"),
                                ("g.py", "net = (\n", "g.py: SyntaxError: '(' was never closed"),
                                ("h.py", "net = x = y = loss = 1\nlr = 'fast'", "lr is 'fast'; expected a number")):
        (tmp_path / name).write_text(text)
        status, _, err = run(capsys, tmp_path / name)
        assert status == 1
        assert message in err
    for name, message in (("none.py", "there is no such file"), ("none.safetensors", "No such file")):
        status, _, err = run(capsys, tmp_path / name)
        assert status == 1
        assert message in err


def test_the_program_that_errors_propose_is_one(tmp_path, capsys):
    with pytest.raises(ValueError, match="such as") as error:
        load(tmp_path / "a.json")
    file = tmp_path / "a.py"
    file.write_text(textwrap.dedent(str(error.value).split("such as\n")[1]))
    status, out, _ = run(capsys, file)
    assert status == 0
    assert "η = 0.5" in out


@pytest.mark.parametrize("option", ["--html", "--svg"])
def test_the_example_is_not_overwritten(capsys, tmp_path, option):
    example = tmp_path / "mine.py"
    example.write_text("{}", encoding="utf-8")
    status, _, err = run(capsys, example, option, example)
    assert status == 1
    assert "the example itself" in err
    assert example.read_text(encoding="utf-8") == "{}"


def test_a_reader_who_has_seen_enough(tmp_path):
    command = [sys.executable, "-m", "fastbp", "explain", "--weight", "all", "--backend", "reference"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""


def test_wrong_names_and_numbers(capsys):
    status, out, err = run(capsys, "--weight", "w99")
    assert (status, out) == (1, "")
    assert err == ("python -m fastbp explain: weight is 'w99'; expected w1 to w8, b1 to b4 or an entry such as "
                   '"0.weight[0, 0]"\n')
    with pytest.raises(SystemExit):
        run(capsys, "--digits", 18)
    assert "more than 17 digits" in capsys.readouterr().err


def test_compare(capsys, monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")
    import fastbp.commands.explain as command
    from fastbp.chainrule import compare

    monkeypatch.setattr(command, "compare", lambda **how: compare(widths=(2, 4), seconds=0.01, **how))
    status, out, _ = run(capsys, "--compare", "--svg", tmp_path / "plot.svg", "--lang", "ko")
    assert status == 0
    assert "수치 미분과 오차역전파 비교" in out
    assert "122" in out
    assert (tmp_path / "plot.svg").read_text(encoding="utf-8").startswith("<svg")
