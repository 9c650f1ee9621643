"""The examples run, and reach what they promise, in a shorter form."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import backends

EXAMPLES = Path(__file__).parents[2] / "examples"
BACKEND = backends()[-1]

pytestmark = pytest.mark.skipif(not EXAMPLES.exists(), reason="the examples are not beside the tests")


def run(name: str, *arguments: str) -> str:
    """Run an example; return what it printed."""
    done = subprocess.run([sys.executable, "-W", "error", EXAMPLES / name, "--backend", BACKEND, *arguments],
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_example_has_a_test() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    forgotten = [p.name for p in EXAMPLES.glob("*.py") if f'"{p.name}"' not in text]
    assert not forgotten, f"add a test for {', '.join(forgotten)}"


def test_digits(tmp_path):
    pytest.importorskip("safetensors")
    first = run("digits.py", "--folder", str(tmp_path), "--epochs", "4")
    assert "4 epochs: test loss" in first
    then = run("digits.py", "--folder", str(tmp_path), "--epochs", "8")
    assert "going on after epoch 4" in then
    (accuracy,) = re.findall(r"8 epochs: .* test accuracy ([\d.]+)%", then)
    assert float(accuracy) > 94


def test_tabular_regression():
    text = run("tabular_regression.py", "--rows", "2000", "--epochs", "30")
    ((error, baseline),) = re.findall(r"error ([\d.]+) .*for all: ([\d.]+)", text)
    assert float(error) < 0.45 * float(baseline)
    ((quiet, noisy),) = re.findall(r": ([\d.]+) where there is little noise, ([\d.]+) where", text)
    assert float(noisy) > 1.4 * float(quiet)


def test_online_learning():
    text = run("online_learning.py", "--batches", "3000")
    accuracies = [float(a) for a in re.findall(r"accuracy ([\d.]+)%", text)]
    assert len(accuracies) == 10
    assert accuracies[4] > 90
    assert accuracies[5] < accuracies[4] - 10, "the change is noticed"
    assert accuracies[9] > 85, "and learnt"


def test_cart_pole():
    text = run("cart_pole.py", "--episodes", "240")
    moves = [float(m) for m in re.findall(r"stands for +([\d.]+) of 200", text)]
    assert len(moves) == 10
    assert moves[0] < 40
    assert max(moves[-3:]) > 120


def test_many_nets():
    text = run("many_nets.py", "--nets", "4", "--epochs", "30")
    (inside, outside) = re.findall(r": error ([\d.]+), doubt ([\d.]+)", text)
    assert float(inside[0]) < 0.02
    assert float(outside[0]) > 4 * float(inside[0])
    assert float(outside[1]) > 4 * float(inside[1]), "the nets differ where they were not trained"


def test_gan():
    text = run("gan.py", "--steps", "2500")
    radii = {n: (float(m), float(s)) for n, m, s in re.findall(r"(\w+): radius ([\d.]+) ± ([\d.]+)", text)}
    assert radii["real"] == pytest.approx((1, 0.05), abs=0.01)
    assert radii["generated"][0] == pytest.approx(1, abs=0.1)
    assert radii["generated"][1] < 0.2
    shares = re.findall(r"generated: .*ring (.*)", text)[0].split()
    assert all(4 < int(s.rstrip("%")) < 25 for s in shares), "no part of the ring is forgotten"


def test_own_pieces():
    text = run("own_pieces.py", "--epochs", "60")
    assert text.count("gradients agree") == 2
    losses = [float(v) for v in re.findall(r": loss ([\d.]+)", text)]
    assert losses[0] < 0.1 * losses[1]


@pytest.mark.parametrize("model", ["lenet", "resnet"])
def test_images(model, tmp_path):
    text = run("images.py", "--model", model, "--epochs", "8", "--folder", str(tmp_path))
    (accuracy,) = re.findall(r"test accuracy ([\d.]+)%", text)
    assert float(accuracy) > 94


@pytest.mark.parametrize("model", ["transformer", "gru"])
def test_characters(model):
    text = run("characters.py", "--model", model)
    bits = [float(b) for b in re.findall(r"([\d.]+) bits", text)]
    assert bits[0] > 4
    assert bits[-1] < 1
    (written,) = re.findall(r"writes: (.*)", text, re.DOTALL)
    assert any(word in written for word in ("better", "than", "implicit", "explicit"))


def test_forecast():
    pytest.importorskip("statsmodels", reason="statsmodels is not installed: pip install statsmodels")
    errors = [float(e) for e in re.findall(r"error ([\d.]+)", run("forecast.py"))]
    assert errors[0] < 0.85 * min(errors[1:])
