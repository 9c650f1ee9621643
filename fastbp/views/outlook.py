"""How a network is looked at and taken elsewhere: thin methods, each importing what does the work when it is called."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any, cast

from fastbp.core.checks import file_to_write
from fastbp.ops.base import Array

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from fastbp.network import Network
    from fastbp.views.report import VerifyReport


class Outlook:
    """What :class:`~fastbp.Network` can be shown as, and turned into."""

    @property
    def _network(self) -> Network:
        return cast("Network", self)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the network to a safetensors file; :func:`fastbp.load` reads it.

        The file has the parameters and buffers by name, and the layers with their arguments as JSON in its metadata. It
        is replaced in one go. Needs safetensors (``pip install 'fastbp[save]'``).

        Raises
        ------
        ImportError
            Without safetensors.
        OSError
            If it cannot be written; what was there stays.
        TypeError, ValueError
            For a layer with arguments that JSON cannot hold, or ops that belong to no layer.
        """
        from fastbp.files.networks import save
        save(self._network, path)

    def summary(self) -> str:
        """Return a table of the graph: one line for each tensor, with its shape and parameters."""
        from fastbp.views.report import summary
        return summary(self._network)

    def _repr_html_(self) -> str:
        """Return the table of :meth:`summary` for notebooks."""
        from fastbp.views.summary_html import summary_html
        return summary_html(self._network)

    def to_svg(self, path: str | PathLike[str] | None = None) -> str:
        """Return the graph as a drawing, an SVG image that suits light and dark pages; write it to a file if given one.

        Examples
        --------
        >>> import fastbp as fb
        >>> net = fb.Sequential(fb.Linear(4, 2), fb.Softmax(), backend="reference")
        >>> net.to_svg().startswith("<svg ")
        True
        """
        from fastbp.views.graph_svg import graph_svg
        file = None if path is None else file_to_write("to_svg: path", path)
        text = graph_svg(self._network)
        if file is not None:
            file.write_text(text, encoding="utf-8")
        return text

    def to_onnx(self, path: str | PathLike[str]) -> None:
        """Write the network, as it predicts, to an ONNX file (opset 20) with a free batch size.

        Needs onnx (``pip install 'fastbp[onnx]'``).

        Raises
        ------
        ImportError
            Without onnx.
        OSError
            If it cannot be written.
        ValueError
            For an op that ONNX has nothing for, such as a layer of your own.
        """
        from fastbp.files.onnx import export
        export(self._network, path)

    def to_torch_state_dict(self) -> dict[str, Any]:
        """Return parameters and buffers as tensors of PyTorch, named and laid out as there: weights (out, in).

        The names are those of an ``nn.Sequential`` of the same layers: ``module.load_state_dict(...)`` takes it. Needs
        torch.
        """
        from fastbp.files.pytorch import state_dict
        return state_dict(self._network)

    def activations(self, x: Any, training: bool = False) -> dict[str, Array]:
        """Return what every tensor of the graph holds for a batch, by name, as :meth:`summary` lists them.

        Computed by the reference, as the native backend fuses some tensors away. Nothing of the network is changed.

        Examples
        --------
        >>> import fastbp as fb
        >>> net = fb.Sequential(fb.Linear(1, 1, weight_init=fb.Constant(-2.0)), fb.ReLU(), backend="reference")
        >>> {name: values.tolist() for name, values in net.activations([[3.0]]).items()}
        {'input': [[3.0]], '0.linear': [[-6.0]], '1.relu': [[0.0]]}
        """
        from fastbp.views.report import activations
        return activations(self._network, x, training)

    def verify(self, x: Any, y: Any, loss: Any, sample_weight: ArrayLike | None = None) -> VerifyReport:
        """Run this network's backend and the reference on one batch, and compare them tensor by tensor.

        Returns
        -------
        VerifyReport
            ``ok``, the deviations, and a table when printed. The reference runs in float64.
        """
        from fastbp.views.report import verify
        return verify(self._network, x, y, loss, sample_weight)
