"""Commands where there is no terminal, few characters, a closed pipe, Ctrl-C, or no C compiler: no traceback."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastbp as fb
from fastbp.__main__ import COMMANDS
from fastbp.core.terminal import plain

ROOT = Path(__file__).parents[2]
ASCII = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
LATIN = {"PYTHONIOENCODING": "cp1252"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a table, and a model for images."""
    path = tmp_path_factory.mktemp("terminal")
    rng = np.random.default_rng(0)
    rows = [f"{a:.4f},{b:.4f},{'Zürich' if a > b else 'Bern'}" for a, b in rng.random((60, 2))]
    (path / "t.csv").write_text("\n".join(["a,b,place", *rows]), encoding="utf-8")
    net = fb.Sequential(fb.Linear(64, 10), seed=0)
    net.save(path / "m.safetensors")
    return path


COMMAND_LINES = [
    ["--version"], ["--help"], *([name, "--help"] for name in COMMANDS), ["info"], ["explain"],
    ["explain", "--lang", "ko"],
    ["train", "--epochs", "1", "--output", "d.safetensors"],
    ["train", "t.csv", "--target", "place", "--epochs", "1", "--folds", "2", "--output", "t.safetensors"],
    ["predict", "m.safetensors", "digits"], ["predict", "t.csv", "t.csv"], ["predict", "absent", "t.csv"]]


def run(folder, arguments, env=None, **options):
    return subprocess.run([sys.executable, "-m", "fastbp", *arguments], cwd=folder, env={**os.environ, **(env or {})},
                          **{"capture_output": True, "text": True, "errors": "replace", "timeout": 300, **options})


@pytest.mark.parametrize(("env", "arguments"), [
    *(pytest.param(ASCII, line, id=f"ascii-{' '.join(line)}") for line in COMMAND_LINES),
    *(pytest.param(LATIN, line, id=f"cp1252-{' '.join(line)}") for line in COMMAND_LINES if "--help" not in line)])
def test_commands_in_terminals_with_few_characters(folder, arguments, env):
    done = run(folder, arguments, env)
    assert "Traceback" not in done.stderr
    assert "Error" not in done.stderr
    wrong = arguments[0] == "predict" and arguments[1] not in ("m.safetensors", "--help")
    away = arguments[0] == "bench" and done.returncode == 2         # the benchmarks are in a checkout only
    assert done.returncode == (1 if wrong else 2 if away else 0)


def test_predictions_are_not_spelled_otherwise(folder):
    run(folder, ["train", "t.csv", "--target", "place", "--epochs", "3", "--folds", "2", "--output", "p.safetensors"])
    done = run(folder, ["predict", "p.safetensors", "t.csv"], ASCII)
    assert (done.returncode, done.stdout.count("rich")) == (1, 0)
    assert "the predictions have '\\xfc', which the terminal (ascii) cannot show; write them to a file with --output" \
        in done.stderr


@pytest.mark.parametrize("closed", ["stdout", "stderr", "both"])
@pytest.mark.parametrize("arguments", [["info"], ["explain"], ["predict", "m.safetensors", "digits"],
                                       ["train", "--epochs", "1", "--output", "d.safetensors"]], ids=" ".join)
def test_commands_without_streams(folder, arguments, closed):
    none = "".join(f"sys.{name} = None\n" for name in ("stdout", "stderr") if closed in (name, "both"))
    code = (f"import sys\n{none}from fastbp.__main__ import main\nraise SystemExit(main({arguments!r}))")
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=300)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)


@pytest.mark.parametrize("progress", ["auto", "bar", "lines"])
def test_training_without_streams(progress):
    code = ("import sys; sys.stdout = sys.stderr = None\nimport fastbp as fb, numpy as np\n"
            "net = fb.Sequential(fb.Linear(3, 1), seed=0)\nx = np.ones((8, 3))\n"
            f"fb.Trainer(net, fb.MSE(), fb.Adam()).fit(x, x[:, :1], epochs=2, progress={progress!r})")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


@pytest.mark.skipif(os.name == "nt", reason="pipes close otherwise on Windows")
@pytest.mark.parametrize("arguments", [*COMMAND_LINES[:2], ["train", "--help"], ["info"], ["explain"],
                                       ["predict", "m.safetensors", "digits"]], ids=" ".join)
def test_pipes_that_are_closed(folder, arguments):
    reader, writer = os.pipe()
    os.close(reader)
    done = run(folder, arguments, stdout=writer, stderr=subprocess.PIPE, capture_output=False)
    os.close(writer)
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="signals are otherwise on Windows")
@pytest.mark.parametrize("module", ["numpy", "argparse"])
def test_ctrl_c_during_the_start(tmp_path, module):
    """A module that is imported on the way is one that presses Ctrl-C."""
    (tmp_path / f"{module}.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n"
                                           "raise SystemExit('went on')\n")
    path = os.pathsep.join([str(tmp_path), str(Path(fb.__file__).parents[1])])
    done = run(tmp_path, ["info"], {"PYTHONPATH": path})
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


@pytest.mark.skipif(os.name == "nt", reason="signals are otherwise on Windows")
def test_ctrl_c_while_a_command_is_imported(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, signal\nclass Finder:\n    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'fastbp.commands.train':\n            signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n")
    path = os.pathsep.join([str(tmp_path), str(Path(fb.__file__).parents[1])])
    done = run(tmp_path, ["train"], {"PYTHONPATH": path})
    assert (done.returncode, done.stderr) == (130, "\nstopped\n")


def test_ctrl_c_of_programs_is_their_own():
    code = "import signal, fastbp; assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_ctrl_c_of_packages_that_are_run_is_their_own(tmp_path):
    """Python imports a package before it runs it, as it does with fastbp."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own/__init__.py").write_text("import fastbp\n")
    (tmp_path / "own/__main__.py").write_text(
        "import signal; assert signal.getsignal(signal.SIGINT) is signal.default_int_handler\n")
    path = os.pathsep.join([str(tmp_path), str(Path(fb.__file__).parents[1])])
    done = subprocess.run([sys.executable, "-m", "own"], env=os.environ | {"PYTHONPATH": path}, capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("env", [ASCII, LATIN], ids=["ascii", "cp1252"])
def test_reprs_in_terminals_with_few_characters(env):
    code = """if True:
        import numpy as np, fastbp as fb
        from fastbp.chainrule import Var, worked_example
        x = np.ones((2, 3)); y = x[:, :1]
        net = fb.Sequential(fb.Linear(3, 4), fb.GELU(), fb.Linear(4, 1), seed=0, dtype="float64")
        trainer = fb.Trainer(net, fb.MSE(), fb.Adam()); trainer.fit(x, y, epochs=1, progress=False)
        e = worked_example(); shown = e.net.explain(e.x, e.y, e.loss, weight="w1")
        t = fb.Input(3); v = Var("x", 2.0)
        reports = [fb.gradcheck(net, x, y, fb.MSE()), net.verify(x, y, fb.MSE()), shown]
        things = [*reports, net, trainer, trainer.history, e, t, np.exp(t[:, 0]) * 2, v * v + 1,
                  net.params, net.graph, fb.Conv2d(1, 2, 3), fb.cpu_info(), fb.MSE()]
        things += [getattr(fb, name) for name in dir(fb)]
        for thing in things:
            print(repr(thing), str(thing))
        print(net.summary())
    """
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **env}, capture_output=True, text=True,
                          errors="replace", timeout=300)
    assert done.returncode == 0, done.stderr
    assert "Sequential((B, 3) -> (B, 1), 21 parameters, float64, native)" in done.stdout


def test_what_stands_in_for_characters():
    assert plain("∂E/∂w₇ = −½ · σ(z) → 0.1…") == "dE/dw7 = -1/2 * sigma(z) -> 0.1..."
    assert plain("학") == "?"
    assert plain("a\tb") == "a\tb"


@pytest.mark.skipif(os.name == "nt", reason="Windows has another compiler")
@pytest.mark.parametrize("missing", ["cc-that-is-not-there"])
def test_without_a_c_compiler_the_error_says_what_to_install(tmp_path, missing):
    pytest.importorskip("Cython")
    if not (ROOT / "setup.py").exists():
        pytest.skip("setup.py is not beside the tests")
    done = subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--build-temp", str(tmp_path / "t"),
                           "--build-lib", str(tmp_path / "l")], cwd=ROOT, env={**os.environ, "CC": missing},
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"fastbp: there is no C compiler ({missing})" in done.stderr
    assert "apt install gcc python3-dev" in done.stderr or "xcode-select --install" in done.stderr
