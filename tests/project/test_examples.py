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


def test_recommender():
    text = run("recommender.py", "--epochs", "12")
    ((error, baseline),) = re.findall(r"each rating: ([\d.]+), .* for all: ([\d.]+)", text)
    assert float(error) < 0.25 < float(baseline)
    assert len(re.findall(r"items ([\d, ]+)", text)[0].split(",")) == 5


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


@pytest.mark.parametrize(("task", "word", "better"), [("cartpole", "falls after", lambda a, b: b > 200),
                                                      ("pendulum", "costs", lambda a, b: b < 0.4 * a)])
def test_ppo(task, word, better):
    found = [float(v) for v in re.findall(rf"{word} +([\d.]+)", run("ppo.py", "--task", task, "--rounds", "30"))]
    assert len(found) == 10
    assert better(found[0], max(found[-3:]) if task == "cartpole" else min(found[-3:]))


def test_dqn():
    text = run("dqn.py", "--moves", "15000")
    shares = [int(s) for s in re.findall(r"(\d+)% of the last walks", text)]
    assert shares[0] < 10
    assert max(shares[-3:]) > 60
    assert "and there" in text
    assert float(re.findall(r"to be worth ([\d.]+)", text)[-1]) == pytest.approx(0.97**13, abs=0.03)


def test_vae(tmp_path):
    from fastbp.datasets.fashion_mnist import DEBIAN_FOLDER
    data = ("fashion", "2") if DEBIAN_FOLDER.exists() else ("digits", "15")
    text = run("vae.py", "--data", data[0], "--epochs", data[1], "--folder", str(tmp_path))
    ((again, mean),) = re.findall(r"drawn again: ([\d.]+), of their mean: ([\d.]+)", text)
    assert float(again) < 0.6 * float(mean)
    for name in ("again.png", "imagined.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_burgers():
    pytest.importorskip("scipy")
    text = run("burgers.py", "--until", "0.25", "--points", "1024", "--adam", "300", "--lbfgs", "100")
    adam, lbfgs = (float(e) for e in re.findall(r"relative error ([\d.e-]+)", text))
    assert adam < 0.03
    assert lbfgs < 0.5 * adam


def test_potential():
    text = run("potential.py", "--epochs", "300")
    alone, both = ([float(v) for v in row] for row in re.findall(r"energy ([\d.]+) .*force ([\d.]+)", text))
    assert both[0] < 0.5 * alone[0]
    assert both[1] < 0.5 * alone[1]
    assert float(re.findall(r"500 moves ([\d.e+-]+)", text)[-1]) < 0.01, "energy is kept"


def test_contrastive():
    text = run("contrastive.py", "--epochs", "15")
    before, after = (float(a) for a in re.findall(r"right for ([\d.]+)%", text))
    assert before < 90
    assert after > 95


def test_focal_loss():
    text = run("focal_loss.py")
    cross_entropy, focal = (float(a) for a in re.findall(r"balanced accuracy ([\d.]+)%", text))
    assert focal > cross_entropy + 3


def test_forecast():
    pytest.importorskip("statsmodels", reason="statsmodels is not installed: pip install statsmodels")
    errors = [float(e) for e in re.findall(r"error ([\d.]+)", run("forecast.py"))]
    assert errors[0] < 0.85 * min(errors[1:])


def test_languages():
    known = Path("/usr/share/locale/de/LC_MESSAGES")
    if not list(known.glob("*.mo")):
        pytest.importorskip("sphinx", reason="there are no catalogues of translations: pip install sphinx")
    text = run("languages.py", "--epochs", "12")
    accuracy, baseline = (float(a) for a in re.findall(r"([\d.]+)%", text))
    assert accuracy > 90 > 2 * baseline
    assert "Bahnhof? German" in text
    assert "gare ? French" in text
