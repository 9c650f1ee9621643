"""The libraries that are compared, and what each must offer: a session, which is one network being trained.

A peer may have several forms, different ways to write the same training loop. The runner tries all and keeps the
fastest, so that each library is seen at its strongest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from numpy.typing import NDArray

from harness.rows import Problem, Row


class Session(Protocol):
    """One network, ready to be trained on one problem; made by ``Form(problem, threads)``."""

    def reset(self) -> None:
        """Go back to the problem's parameters and to an optimizer that has taken no step."""

    def losses(self) -> NDArray[Any]:
        """Train one epoch; return the loss of each mini-batch, before its update."""

    def run(self, epochs: int) -> None:
        """Train, and return when it is done."""


def _any(row: Row) -> bool:
    return True


def _with_adam(row: Row) -> bool:
    return row.optimizer == "adam"


def _dense(row: Row) -> bool:
    """Fully connected networks only, with a loss that has a name."""
    return type(row) is Row and _with_adam(row)


def _sample_by_sample(row: Row) -> bool:
    return type(row) is Row and row.optimizer == "sgd" and row.batch == 1


@dataclass(frozen=True)
class Peer:
    """A way to train a network.

    Attributes
    ----------
    label : str
        What it is called in tables and charts.
    library : str
        The distribution that must be installed.
    forms : mapping of str to str
        ``module:Class`` of each form, by what is special about it.
    slack : float
        How many times a row's tolerance its losses may be off.
    trains : function
        Tells whether it can train a row.
    program : str
        What must be on the PATH besides.
    """

    label: str
    library: str
    forms: Mapping[str, str]
    slack: float = 1
    trains: Callable[[Row], bool] = _with_adam
    program: str = ""

    def session(self, form: str, problem: Problem, threads: int) -> Session:
        """Set up a session. The library is imported here, and only here."""
        module, _, name = self.forms[form].partition(":")
        made: Session = getattr(import_module(f"harness.{module}"), name)(problem, threads)
        return made


PEERS = {
    "fastbp": Peer("fastbp", "fastbp", {"Trainer.fit": "peer_fastbp:Fit"}, trains=_any),
    "step": Peer("fastbp, trainer.step", "fastbp", {"trainer.step": "peer_fastbp:Step"}, trains=_any),
    "jax": Peer("JAX", "jax", {
        "a compiled step": "peer_jax:Step",
        "scan over an epoch": "peer_jax:Epoch",
        "scan over all epochs": "peer_jax:Epochs",
        "scan over all epochs, 4 steps unrolled": "peer_jax:Unrolled",
    }),
    "compiled": Peer("PyTorch, compiled", "torch", {
        "model and loss compiled, fused Adam": "peer_torch:CompiledModel",
        "whole step compiled": "peer_torch:CompiledStep",
        "four whole steps compiled": "peer_torch:CompiledSteps",
    }),
    "eager": Peer("PyTorch, eager", "torch", {
        "fused Adam": "peer_torch:Fused",
        "foreach Adam": "peer_torch:Foreach",
    }),
    "sklearn": Peer("scikit-learn", "scikit-learn", {"warm-started fit": "peer_sklearn:Fit"}, slack=20,
                    trains=_dense),
    "tensorflow": Peer("TensorFlow, XLA", "tensorflow-cpu", {"16 steps in one call": "peer_tensorflow:Epoch"},
                       trains=_dense),
    "libtorch": Peer("LibTorch, C++", "torch", {
        "recorded graph, fused Adam": "peer_libtorch:Recorded",
        "derivatives written out, fused Adam": "peer_libtorch:WrittenOut",
    }, trains=_dense, program="c++"),
    "fann": Peer("FANN", "libfann", {"fann_train_on_data": "peer_fann:Incremental"}, slack=3, trains=_sample_by_sample),
    "mlx": Peer("MLX", "mlx", {
        "step compiled": "peer_mlx:Steps",
        "four steps compiled": "peer_mlx:FourSteps",
        "16 steps compiled": "peer_mlx:Epoch",
    }, trains=_dense),
    "thinc": Peer("thinc", "thinc", {
        "BLIS": "peer_thinc:Blis",
        "NumPy": "peer_thinc:Numpy",
    }, slack=20, trains=_dense),
    "reference": Peer("NumPy reference", "numpy", {"Trainer.fit": "peer_fastbp:Reference"}, trains=_any),
}
"""By name, in the order of tables and charts."""
