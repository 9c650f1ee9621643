"""Names of other libraries: an unknown one is answered with fastbp's own."""

import subprocess
import sys
from importlib.metadata import version

import pytest

import fastbp as fb
from fastbp.core import words


@pytest.mark.parametrize("name", words.PUBLIC)
def test_a_public_name_of_another_library(name):
    with pytest.raises(AttributeError, match=f"no attribute '{name}'; fastbp has "):
        getattr(fb, name)


def test_a_name_that_nobody_has():
    with pytest.raises(AttributeError, match=r"^module 'fastbp' has no attribute 'Sequentail'$"):
        fb.Sequentail  # noqa: B018


@pytest.mark.parametrize(("make", "argument", "own"), [
    (fb.Adam, "betas", "beta1=0.9, beta2=0.999"),
    (fb.SGD, "learning_rate", "lr="),
    (fb.RMSprop, "rho", "alpha="),
    (fb.Dropout, "p", "rate="),
    (fb.CrossEntropy, "reduction", "sample_weight"),
    (fb.BinaryCrossEntropy, "from_logits", "logits"),
    (lambda **given: fb.Linear(2, 3, **given), "activation", "fb.ReLU"),
])
def test_an_argument_of_another_library(make, argument, own):
    with pytest.raises(TypeError, match=f"there is no argument '{argument}'; give .*{own}"):
        make(**{argument: 0.5})


def test_an_argument_that_nobody_has():
    with pytest.raises(TypeError, match="unexpected keyword argument 'momentun'"):
        fb.SGD(momentun=0.9)


def test_dir_shows_public_names_alone():
    assert set(dir(fb)) == {*fb.__all__, "MLPClassifier", "MLPRegressor", "__version__", "__doc__"} | set(fb._LATE)
    assert not [name for name in dir(fb) if name.startswith("_") and not name.endswith("__")]


def test_version():
    assert fb.__version__ == version("fastbp")
    done = subprocess.run([sys.executable, "-m", "fastbp", "--version"], text=True, capture_output=True, check=True)
    assert done.stdout == f"fastbp {fb.__version__}\n"
