"""``python -m fastbp explain``: its output, its files, networks from JSON and Python, its errors."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from fastbp.__main__ import main
from fastbp.chainrule import load

NETWORK = {
    "layers": [
        {"type": "Linear", "in_features": 2, "out_features": 2,
         "params": {"weight": [[0.15, 0.25], [0.20, 0.30]], "bias": [0.35, 0.35]}},
        "Sigmoid",
        {"type": "Linear", "in_features": 2, "out_features": 2,
         "params": {"weight": [[0.40, 0.50], [0.45, 0.55]], "bias": [0.60, 0.60]}},
        {"type": "Sigmoid"},
    ],
    "loss": "HalfSquaredError", "x": [[0.05, 0.10]], "y": [[0.01, 0.99]], "lr": 0.5,
}


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


def test_a_network_of_ones_own_as_json(capsys, tmp_path):
    file = tmp_path / "net.json"
    file.write_text(json.dumps(NETWORK))
    status, out, _ = run(capsys, file, "--weight", "2.weight[0, 1]", "--digits", 17)
    assert status == 0
    assert "−0.022602540477475067" in out
    assert "0.5113012702387375" in out
    status, out, _ = run(capsys, file, "--lr", 1, "--format", "chain")
    assert "∂E/∂w₁" in out


def test_a_network_of_ones_own_as_python(capsys, tmp_path):
    file = tmp_path / "net.py"
    file.write_text("import fastbp as fb\n"
                    "net = fb.Sequential(fb.Linear(2, 3), fb.Tanh(), fb.Linear(3, 2), seed=0, backend='reference')\n"
                    "x, y, loss, lr = [[1.0, 2.0]], [1], fb.CrossEntropy(), 0.25\n")
    status, out, _ = run(capsys, file, "--weight", "w8")
    assert status == 0
    assert "η = 0.25" in out
    assert "softmax" in out


@pytest.mark.parametrize(("change", "message"), [
    ({"layers": ["Lineer"]}, "layers[0] is of type 'Lineer'; expected one of Add, BatchNorm,"),
    ({"loss": {"type": "Huber", "beta": 1}}, "loss: Huber: got an unexpected keyword argument 'beta'; it takes"),
    ({"loss": 3}, "loss is 3; expected a name, or an object with a type"),
    ({"weights": []}, "unknown weights; expected layers, loss, x, y, lr, seed"),
    ({"layers": [{"type": "Linear", "in_features": 2, "out_features": 2, "params": {"w": 1}}]},
     "layers[0] has no parameter 'w'; it has 0.weight, 0.bias"),
    ({"layers": 5}, "layers is 5; expected a list of layers"),
    ({"layers": [{"type": "Linear", "in_features": 2, "out_features": 2, "params": [1]}]},
     "params of layers[0] is [1]; expected an object, such as"),
    ({"lr": "fast"}, "lr is 'fast'; expected a number, such as 0.1"),
])
def test_json_that_does_not_fit(tmp_path, change, message):
    file = tmp_path / "net.json"
    file.write_text(json.dumps({**NETWORK, **change}))
    with pytest.raises(ValueError, match=re.escape(message)):
        load(file, "reference")


def test_files_that_do_not_fit(tmp_path, capsys):
    for name, text, message in (("a.json", "{", "no valid JSON"), ("b.json", "[]", "is list; expected an object"),
                                ("c.json", "{}", "lacks layers, loss, x, y"), ("d.py", "net = 1", "sets no x, y, loss"),
                                ("e.txt", "", "expected a file that ends in .json or .py"),
                                ("f.py", "net = 1\nx = net / 0\n", "f.py, line 2: ZeroDivisionError: division by"),
                                ("g.py", "net = (\n", "g.py: SyntaxError: '(' was never closed")):
        (tmp_path / name).write_text(text)
        status, _, err = run(capsys, tmp_path / name)
        assert status == 1
        assert message in err
    status, _, err = run(capsys, tmp_path / "none.py")
    assert status == 1
    assert "there is no such file" in err
    status, _, err = run(capsys, tmp_path / "none.json")
    assert (status, err) == (1, f"python -m fastbp explain: {tmp_path / 'none.json'}: No such file or directory\n")


@pytest.mark.parametrize("option", ["--html", "--svg"])
def test_the_example_is_not_overwritten(capsys, tmp_path, option):
    example = tmp_path / "mine.json"
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
    import fastbp.commands.explain as command
    from fastbp.chainrule import compare

    monkeypatch.setattr(command, "compare", lambda **how: compare(widths=(2, 4), seconds=0.01, **how))
    status, out, _ = run(capsys, "--compare", "--svg", tmp_path / "plot.svg", "--lang", "ko")
    assert status == 0
    assert "수치 미분과 오차역전파 비교" in out
    assert "122" in out
    assert (tmp_path / "plot.svg").read_text(encoding="utf-8").startswith("<svg")
