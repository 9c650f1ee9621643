"""Pictures of training and of networks, through matplotlib (``pip install 'fastbp[plot]'``).

Each function returns a matplotlib figure, or draws into one that is handed in. In a notebook it shows itself; in a
script save it (``figure.savefig("loss.png")``), or hand in ``plt.figure()`` and call ``plt.show()``. Colours follow
matplotlib's own settings: on a dark style (``plt.style.use("dark_background")``) they are light.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from math import ceil
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fastbp.core.checks import count, numbers
from fastbp.ops.base import Array

if TYPE_CHECKING:
    from fastbp.engine.executable import Executable

# Okabe and Ito's colours, told apart by colour-blind readers too, in an order of falling contrast; on dark the lighter.
_LIGHT = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
_DARK = ("#56b4e9", "#ff9f4a", "#2fd6a3", "#e9a3cb", "#f0e442", "#7fb2ff", "#b0b0b0")

_PANEL = 3.1
"""Height of a row of panels, in inches."""


class Columns(Protocol):
    """Columns of numbers by name, one number an epoch: a dict, or a :class:`fastbp.History`."""

    def keys(self) -> Iterable[str]: ...

    def __getitem__(self, name: str, /) -> Sequence[float]: ...


def history(columns: Columns, figure: Any = None) -> Any:
    """Draw the loss, the metrics and the learning rate over the epochs, each kind in a panel; ``history.plot()``.

    Parameters
    ----------
    columns : History, or dict of str to sequences of one number an epoch
        Among them ``"epoch"``.
    figure : matplotlib Figure, optional

    Returns
    -------
    matplotlib Figure

    Examples
    --------
    >>> import fastbp as fb
    >>> figure = fb.History([{"epoch": 1, "loss": 0.5, "lr": 0.1}, {"epoch": 2, "loss": 0.25, "lr": 0.1}]).plot()
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['loss', 'learning rate']
    """
    drawn = {name: columns[name] for name in columns.keys()}  # noqa: SIM118 - no mapping otherwise
    panels = _panels(drawn)
    if not panels:
        raise ValueError("history.plot: there are no epochs yet; call trainer.fit first")
    epochs = drawn["epoch"]
    figure, axes, palette = _figure(figure, len(panels), columns=min(len(panels), 3))
    for ax, (label, lines) in zip(axes, panels.items(), strict=True):
        for i, (name, values) in enumerate(lines.items()):
            validation = name.startswith("val_")
            ax.plot(epochs, values, color=palette[i % len(palette)], label=_line_name(name, label),
                    linestyle="--" if validation and len(lines) > 1 else "-", linewidth=1.8,
                    marker="o" if len(epochs) < 3 else None)
        ax.set(xlabel="epoch", ylabel=label if not all(name.startswith("val_") for name in lines)
               else f"validation {label}")
        ax.xaxis.get_major_locator().set_params(integer=True)
        if len(lines) > 1:
            ax.legend(frameon=False)
        positive = [v for values in lines.values() for v in values if np.isfinite(v)]
        if label in ("loss", "learning rate") and positive and min(positive) > 0 and max(positive) > 20 * min(positive):
            ax.set_yscale("log")
    return figure


def _panels(columns: Mapping[str, Sequence[float]]) -> dict[str, dict[str, Sequence[float]]]:
    """Sort the columns of a history into panels: the loss, each metric with its twins, the learning rate."""
    panels: dict[str, dict[str, Sequence[float]]] = {}
    for name, values in columns.items():
        if name not in ("epoch", "seconds", "samples_per_second", "lr"):
            panels.setdefault(name.removeprefix("val_").replace("_", " "), {})[name] = values
    if "lr" in columns:
        panels["learning rate"] = {"lr": columns["lr"]}
    return panels


def _line_name(name: str, label: str) -> str:
    return "validation" if name.startswith("val_") else "training" if name == label else name


def available() -> None:
    """Raise ImportError, which says how to install it, where there is no matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("plots need matplotlib; install it with: pip install 'fastbp[plot]'") from None
    del Figure


def learning_rates(rates: Sequence[float], losses: Sequence[float], smoothed: Sequence[float], lr: float,
                   figure: Any = None) -> Any:
    """Draw the losses of a range test over the learning rate, and the suggestion; ``trainer.find_lr(X, y).plot()``.

    Parameters
    ----------
    rates, losses, smoothed : sequence of float
    lr : float
    figure : matplotlib Figure, optional

    Returns
    -------
    matplotlib Figure

    Examples
    --------
    >>> figure = learning_rates([0.1, 0.2, 0.4], [3.0, 2.0, 1.5], [3.0, 2.5, 2.0], 0.2)
    >>> figure.axes[0].get_xlabel()
    'learning rate'
    """
    figure, (ax, *_), palette = _figure(figure, 1, columns=1)
    ax.plot(rates, losses, color=palette[0], alpha=0.35, linewidth=1.2, label="loss")
    ax.plot(rates, smoothed, color=palette[0], linewidth=1.8, label="smoothed")
    ax.axvline(lr, color=palette[1], linestyle="--", linewidth=1.4, label=f"suggested: {lr:.2g}")
    ax.set(xlabel="learning rate", ylabel="loss", xscale="log")
    ax.set_ylim(top=max(1.3 * smoothed[0], 1.1 * min(smoothed)))
    ax.legend(frameon=False)
    return figure


def weight_histograms(net: Executable, figure: Any = None, bins: int = 50) -> Any:
    """Draw the distribution of each parameter of a network.

    Parameters
    ----------
    net : Network
    figure : matplotlib Figure, optional
    bins : int, default 50

    Returns
    -------
    matplotlib Figure
    """
    return _histograms("weight_histograms", dict(net.params), figure, bins, 0)


def gradient_histograms(net: Executable, figure: Any = None, bins: int = 50) -> Any:
    """Draw the distribution of the gradient of each parameter, as ``net.loss_and_grad`` or ``net.backward`` left it.

    Parameters, and what is returned, as in :func:`weight_histograms`.
    """
    if not net.grads.flat.any():
        raise ValueError("gradient_histograms: all gradients are 0; call net.loss_and_grad(x, y, loss) first")
    return _histograms("gradient_histograms", dict(net.grads), figure, bins, 1)


def _histograms(owner: str, arrays: Mapping[str, Array], figure: Any, bins: int, color: int) -> Any:
    bins = count(owner, "bins", bins)
    if not arrays:
        raise ValueError(f"{owner}: the network has no parameters")
    figure, axes, palette = _figure(figure, len(arrays), columns=min(len(arrays), 4), height=2.3, width=3.2)
    for ax, (name, values) in zip(axes, arrays.items(), strict=True):
        flat = np.asarray(values, np.float64).ravel()
        finite = flat[np.isfinite(flat)]
        ax.hist(finite, bins=min(bins, max(5, finite.size // 2)), color=palette[color], linewidth=0)
        lost = f", {flat.size - finite.size:,} not finite" if finite.size < flat.size else ""
        ax.set_title(f"{name}  {values.shape}", fontsize=10, loc="left")
        spread = f"mean {finite.mean():.2g}, std {finite.std():.2g}{lost}" if finite.size else "nothing finite"
        ax.set_xlabel(spread, fontsize=9)
        ax.tick_params(labelsize=8)
        ax.ticklabel_format(axis="x", style="sci", scilimits=(-3, 4))
        ax.xaxis.get_offset_text().set_fontsize(8)
        ax.locator_params(axis="x", nbins=5)
        ax.set_yticks([])
    return figure


def decision_surface(net: Executable, X: Any, y: Any = None, figure: Any = None, resolution: int = 200,
                     feature_names: Sequence[str] = ("x₁", "x₂")) -> Any:
    """Draw what a network makes of two features: the regions of its classes, or the height of its one output.

    With several outputs the largest one is the class, and regions are the more opaque the surer the network is (by the
    softmax of the outputs). With one output, its value is drawn as a height, with a line at 0, where a binary
    classifier trained with :class:`~fastbp.BinaryCrossEntropy` decides.

    Parameters
    ----------
    net : Network
        With one input of two features and one output (B, C).
    X : array (N, 2)
        The points that the picture is about; they are drawn.
    y : array (N,), optional
        Their labels, or their values, as colours.
    figure : matplotlib Figure, optional
    resolution : int, default 200
        Points of the grid along each axis.
    feature_names : two str

    Returns
    -------
    matplotlib Figure
    """
    inputs, outputs = [t.shape for t in net.graph.inputs], [t.shape for t in net.graph.outputs]
    if inputs != [(2,)] or len(outputs) != 1 or len(outputs[0]) != 1:
        raise ValueError(f"decision_surface: the network is {net!r}; expected one input (B, 2) and one output (B, C)")
    points = numbers("X", X, "float64")
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise ValueError(f"X has shape {points.shape}; expected (N, 2)")
    figure, (ax,), palette = _figure(figure, 1, columns=1, width=5.2, height=4.4)
    low, high = points.min(axis=0), points.max(axis=0)
    pad = np.where(high > low, 0.08 * (high - low), 0.5)
    n = count("decision_surface", "resolution", resolution, at_least=2)
    u, v = (np.linspace(low[i] - pad[i], high[i] + pad[i], n) for i in range(2))
    grid = np.stack([a.ravel() for a in np.meshgrid(u, v)], axis=1)
    values = np.asarray(net.predict(grid), np.float64).reshape(n, n, -1)
    labels = None if y is None else np.asarray(y).reshape(len(points), -1)[:, 0]
    extent = (u[0], u[-1], v[0], v[-1])
    if values.shape[-1] > 1:
        _classes(ax, values, extent, palette, points, labels)
    else:
        _heights(figure, ax, values[..., 0], extent, points, labels)
    ax.set(xlabel=feature_names[0], ylabel=feature_names[1], xlim=extent[:2], ylim=extent[2:])
    return figure


def _classes(ax: Any, values: Array, extent: tuple[float, ...], palette: Sequence[str], points: Array,
             labels: Array | None) -> None:
    from matplotlib.colors import to_rgb
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    surest = (powers / powers.sum(axis=-1, keepdims=True)).max(axis=-1)
    n_classes = values.shape[-1]
    colors = np.array([to_rgb(palette[c % len(palette)]) for c in range(n_classes)])
    chance = 1 / n_classes
    alpha = 0.12 + 0.38 * (surest - chance) / (1 - chance)
    ax.imshow(np.dstack([colors[values.argmax(axis=-1)], alpha]), origin="lower", extent=extent, aspect="auto",
              interpolation="nearest")
    for c in range(n_classes):
        chosen = points if labels is None else points[labels == c]
        if labels is not None or c == 0:
            color = palette[c % len(palette)] if labels is not None else palette[-1]
            ax.scatter(*chosen.T, s=22, color=[color], edgecolor=ax.get_facecolor(), linewidth=0.7, label=f"class {c}")
    if labels is not None:
        ax.legend(frameon=True, framealpha=0.8, loc="best")


def _heights(figure: Any, ax: Any, values: Array, extent: tuple[float, ...], points: Array,
             labels: Array | None) -> None:
    image = ax.imshow(values, origin="lower", extent=extent, aspect="auto", cmap="viridis", interpolation="bilinear")
    if values.min() < 0 < values.max():
        ax.contour(values, levels=[0], extent=extent, colors=["white"], linewidths=1.4)
    colors: dict[str, Any] = {"color": "white"} if labels is None else {"c": labels, "cmap": "viridis"}
    if labels is not None and not set(np.unique(labels)) <= {0, 1}:
        colors["norm"] = image.norm
    ax.scatter(*points.T, s=24, edgecolor="white", linewidth=0.9, **colors)
    figure.colorbar(image, ax=ax, label="output")


def confusion_matrix(y_true: Any, y_pred: Any, class_names: Sequence[str] | None = None, figure: Any = None) -> Any:
    """Draw how often each class was taken for each: a row for a true class, a column for a predicted one.

    Parameters
    ----------
    y_true : array (N,) of labels from 0
    y_pred : array (N,) of labels, or the network's outputs (N, C): then the largest is taken
    class_names : sequence of str, optional
    figure : matplotlib Figure, optional

    Returns
    -------
    matplotlib Figure
        Colours are shares of the true class, numbers are counts.
    """
    true, predicted = _labels("y_true", y_true), _labels("y_pred", y_pred)
    if len(true) != len(predicted) or not len(true):
        raise ValueError(f"y_pred has {len(predicted)} rows; expected {max(len(true), 1)}, as y_true has")
    given = np.asarray(y_pred)
    n = max(int(true.max()), int(predicted.max())) + 1
    n = max(n, given.shape[1] if given.ndim == 2 else 0)
    if class_names is not None and len(class_names) < n:
        raise ValueError(f"class_names has {len(class_names)} entries; expected {n}")
    table = np.zeros((n, n), np.int64)
    np.add.at(table, (true, predicted), 1)
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    size = min(max(3.6, 1.8 + 0.46 * n), 12.0)
    figure, (ax,), palette = _figure(figure, 1, columns=1, width=size + 0.9, height=size)
    from matplotlib.colors import LinearSegmentedColormap
    shades = LinearSegmentedColormap.from_list("share", [ax.get_facecolor(), palette[0]])
    image = ax.imshow(share, cmap=shades, vmin=0, vmax=1)
    ax.spines[:].set_visible(True)
    if n <= 30:
        for i, j in zip(*np.nonzero(table), strict=True):
            shade = _is_dark(image.cmap(share[i, j]))
            ax.text(j, i, f"{table[i, j]:,}", ha="center", va="center", fontsize=9 if n <= 12 else 6,
                    color="white" if shade else "#1a1a1a")
    names = list(class_names or map(str, range(n)))[:n]
    turn = max(map(len, names)) > 3 and n > 4
    ax.set_xticks(range(n), names, rotation=45 if turn else 0, ha="right" if turn else "center")
    ax.set_yticks(range(n), names)
    ax.tick_params(length=0)
    accuracy = np.trace(table) / table.sum()
    ax.set(xlabel="predicted class", ylabel="true class", title=f"accuracy {accuracy:.2%} of {table.sum():,}")
    figure.colorbar(image, ax=ax, label="share of the true class", shrink=0.85)
    return figure


def importance(found: Any, names: Sequence[str] | None = None, figure: Any = None, most: int = 20) -> Any:
    """Draw how much columns matter, the most important at the top.

    Parameters
    ----------
    found : mapping of names to numbers, or what ``sklearn.inspection.permutation_importance`` returns
    names : sequence of str, optional
        Of the columns, for the latter.
    figure : matplotlib Figure, optional
    most : int, default 20
        How many are drawn.

    Returns
    -------
    matplotlib Figure
        Lines are standard deviations over repetitions, where there are any.

    Raises
    ------
    TypeError, ValueError
        For what holds no importances, or names of another number.

    Examples
    --------
    >>> import fastbp as fb
    >>> figure = fb.plots.importance({"size": 0.7, "city": 0.2})
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['city', 'size']
    """
    if not isinstance(found, Mapping):
        raise TypeError(f"importance: found is {type(found).__name__}; expected numbers by name, or what "
                        "sklearn.inspection.permutation_importance(model, X, y) returns")
    if "importances_mean" not in found:
        labels, values, spread = list(map(str, found)), np.array(list(found.values()), np.float64), None
    else:
        values, spread = (np.asarray(found[key], np.float64) for key in ("importances_mean", "importances_std"))
        labels = [f"x{i}" for i in range(len(values))] if names is None else list(map(str, names))
    if values.ndim != 1 or not len(values) or len(labels) != len(values):
        raise ValueError(f"names has {len(labels)} entries; expected {values.size}, one for each column")
    order = np.argsort(values, kind="stable")[-count("importance", "most", most):]
    figure, (ax,), palette = _figure(figure, 1, columns=1, width=6.0, height=1.0 + 0.28 * len(order))
    ax.barh(range(len(order)), values[order], color=palette[0], height=0.7,
            xerr=None if spread is None else spread[order], ecolor=palette[-1])
    ax.set_yticks(range(len(order)), [labels[i] for i in order])
    ax.axvline(0, color=palette[-1], linewidth=0.8)
    ax.set(xlabel="importance")
    return figure


def gradient_cost(weights: Sequence[int], numerical: Sequence[float], backward: Sequence[float], figure: Any = None, *,
                  labels: Sequence[str] = ("weights of the network", "seconds for one gradient", "numerical gradient",
                                           "backpropagation")) -> Any:
    """Draw how long numerical and backpropagated gradients take, over the number of weights, both axes logarithmic.

    Parameters
    ----------
    weights : sequence of int
    numerical, backward : sequence of float
        Seconds for all gradients of each network.
    figure : matplotlib Figure, optional
    labels : four texts
        Of the axes across and up, and of the two lines.

    Returns
    -------
    matplotlib Figure

    Examples
    --------
    >>> figure = gradient_cost([27, 61], [0.01, 0.02], [0.0001, 0.0001])
    >>> figure.axes[0].get_xscale()
    'log'
    """
    figure, (ax,), palette = _figure(figure, 1, columns=1, width=6.4, height=4)
    for seconds, color, marker, label in ((numerical, 1, "s", labels[2]), (backward, 0, "o", labels[3])):
        ax.plot(weights, seconds, color=palette[color], marker=marker, linewidth=1.8, label=label)
    ax.set(xscale="log", yscale="log", xlabel=labels[0], ylabel=labels[1])
    ax.grid(alpha=0.3)
    ax.legend(frameon=False)
    return figure


def _labels(name: str, values: Any) -> Array:
    array = np.asarray(values)
    if array.ndim == 2 and array.shape[1] > 1 and name == "y_pred":
        array = array.argmax(axis=1)
    array = array.reshape(-1) if array.ndim == 2 and array.shape[1] == 1 else array
    if array.ndim != 1 or array.dtype.kind not in "iub" or (array.size and array.min() < 0):
        raise ValueError(f"{name} has shape {array.shape} and dtype {array.dtype}; expected labels (N,), whole numbers "
                         "from 0")
    return array.astype(np.int64)


# ---- figures ---------------------------------------------------------------------------------------------------------


def _figure(figure: Any, panels: int, columns: int, width: float = 4.2,
            height: float = _PANEL) -> tuple[Any, list[Any], Sequence[str]]:
    """Return a figure, its axes, and the colours that suit its background."""
    available()
    from matplotlib.figure import Figure

    class Picture(Figure):
        """A figure that notebooks can show, whether or not pyplot has been set up there."""

        def _repr_png_(self) -> bytes:
            file = BytesIO()
            self.savefig(file, format="png", dpi=144)
            return file.getvalue()

    rows = ceil(panels / columns)
    if figure is None:
        figure = Picture(figsize=(width * columns, height * rows), layout="constrained")
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(panels)]
    dark = _is_dark(axes[0].get_facecolor())
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes, _DARK if dark else _LIGHT


def _is_dark(color: Any) -> bool:
    """Return whether white reads better on a colour than black (by its relative luminance)."""
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color[:3])
    return bool(0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.179)
