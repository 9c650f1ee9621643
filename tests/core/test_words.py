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


@pytest.mark.parametrize(("name", "own"), [("Relu", "ReLU"), ("Conv2D", "Conv2d"), ("mlp_classifier", "MLPClassifier")])
def test_a_name_spelt_otherwise(name, own):
    with pytest.raises(AttributeError, match=f"^module 'fastbp' has no attribute '{name}'; fastbp has fb.{own}$"):
        getattr(fb, name)


@pytest.mark.parametrize(("make", "argument", "own"), [
    (fb.Adam, "betas", "beta1=0.9, beta2=0.999"),
    (fb.SGD, "learning_rate", "lr="),
    (fb.RMSprop, "rho", "alpha="),
    (fb.Dropout, "p", "rate="),
    (fb.CrossEntropy, "reduction", "sample_weight"),
    (fb.BinaryCrossEntropy, "from_logits", "logits"),
    (lambda **given: fb.Linear(2, 3, **given), "activation", "fb.ReLU"),
    (fb.callbacks.EarlyStopping, "restore_best_weights", "restore_best="),
    (fb.callbacks.ModelCheckpoint, "save_best_only", "best_only="),
    (fb.Trainer, "clip_grad_norm", "clip_norm="),
    (fb.Trainer, "lr", r"fb\.Adam"),
])
def test_an_argument_of_another_library(make, argument, own):
    with pytest.raises(TypeError, match=f"there is no argument '{argument}'; give .*{own}"):
        make(**{argument: 0.5})


def test_an_argument_that_nobody_has():
    with pytest.raises(TypeError, match="unexpected keyword argument 'momentun'"):
        fb.SGD(momentun=0.9)


def test_dir_shows_public_names_alone():
    assert set(dir(fb)) == {*fb.__all__, *fb._LATE, "__version__", "__doc__"} - fb._MISSING
    assert not [name for name in dir(fb) if name.startswith("_") and not name.endswith("__")]


def test_modules_of_the_package_are_imported_from():
    from fastbp.callbacks import EarlyStopping
    from fastbp.metrics import accuracy
    from fastbp.schedules import CosineDecay
    assert (EarlyStopping, accuracy, CosineDecay) == (fb.callbacks.EarlyStopping, fb.metrics.accuracy, fb.CosineDecay)


def test_kernels_are_imported_by_their_public_name():
    import fastbp.kernels
    from fastbp.engine import kernels
    assert fastbp.kernels is fb.kernels is kernels is sys.modules["fastbp.kernels"]


def test_optimizers_are_found_where_other_libraries_have_them():
    from fastbp.optim import Adam
    assert fb.optim.Adam is Adam is fb.Adam


def test_all_names_are_there_without_scikit_learn():
    program = ("import sys, inspect; sys.modules['sklearn'] = None\n"
               "import fastbp as fb\n"
               "from fastbp import *\n"
               "inspect.getmembers(fb)\n"
               "assert 'Sequential' in dir(fb) and 'MLPClassifier' not in dir(fb)\n"
               "fb.MLPClassifier")
    done = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, check=False)
    assert done.stderr.splitlines()[-1] == ("ModuleNotFoundError: fastbp's estimators need scikit-learn; install it "
                                            "with: pip install 'fastbp[sklearn]'")


def test_version():
    assert fb.__version__ == version("fastbp")
    done = subprocess.run([sys.executable, "-m", "fastbp", "--version"], text=True, capture_output=True, check=True)
    assert done.stdout == f"fastbp {fb.__version__}\n"


@pytest.mark.parametrize("name", words.METHODS)
def test_a_method_of_another_library(name):
    net = fb.Sequential(fb.Linear(2, 1), backend="reference")
    with pytest.raises(AttributeError, match=f"'Sequential' object has no attribute '{name}'; fastbp has "):
        getattr(net, name)
    assert not hasattr(net, name)


def test_a_sequential_is_a_sequence_of_its_layers():
    net = fb.Sequential(fb.Linear(2, 3), fb.ReLU(), fb.Linear(3, 1), backend="reference")
    assert len(net) == 3
    assert net[0] is net.layers[0]
    assert net[-2:] == net.layers[1:]
    assert list(net) == list(net.layers)
    with pytest.raises(IndexError):
        net[3]
