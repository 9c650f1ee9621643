"""Pictures: the right numbers are in them, on light and on dark, and mistakes are told."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

import fastbp as fb

SVG = "{http://www.w3.org/2000/svg}"


def trained() -> tuple[fb.Network, fb.History, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 2))
    y = (x[:, 0] * x[:, 1] > 0).astype(int) + (x[:, 0] > 1)
    net = fb.Sequential(fb.Linear(2, 8), fb.BatchNorm(), fb.Tanh(), fb.Linear(8, 3), seed=0, backend="reference")
    trainer = fb.Trainer(net, fb.CrossEntropy(), fb.Adam(0.01))
    return net, trainer.fit(x, y, epochs=3, validation_data=(x, y)), x, y


def drawn(figure) -> bytes:
    """Draw a figure for real: much goes wrong only then."""
    png = figure._repr_png_()
    assert png.startswith(b"\x89PNG")
    return png


@pytest.fixture(params=["default", "dark_background"])
def style(request):
    style = pytest.importorskip("matplotlib.style")
    with style.context(request.param):
        yield request.param


def test_history(style):
    _, history, _, _ = trained()
    figure = history.plot()
    assert [ax.get_ylabel() for ax in figure.axes] == ["loss", "accuracy", "learning rate"]
    loss, validation = figure.axes[0].lines
    assert list(loss.get_ydata()) == history["loss"]
    assert list(validation.get_ydata()) == history["val_loss"]
    assert list(loss.get_xdata()) == [1, 2, 3]
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == ["training", "validation"]
    drawn(figure)


def test_a_notebook_shows_a_history_as_its_picture(style):
    _, history, _, _ = trained()
    assert history._repr_png_() == drawn(history.plot())


@pytest.mark.parametrize("rows", [[], [{"epoch": 1}]])
def test_a_notebook_shows_a_history_with_nothing_to_draw_as_text(rows):
    assert fb.History(rows)._repr_png_() is None


def test_a_notebook_without_matplotlib_shows_a_history_as_text(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert fb.History([{"epoch": 1, "loss": 0.5}])._repr_png_() is None


def test_history_of_one_epoch_and_of_strange_numbers(style):
    drawn(fb.History([{"epoch": 1, "loss": 0.5}]).plot())
    figure = fb.History([{"epoch": i, "loss": v, "lr": 10.0**-i, "my_metric": 1.0} for i, v in
                         enumerate([float("inf"), float("nan"), 0.0, 2.0], 1)]).plot()
    assert [ax.get_ylabel() for ax in figure.axes] == ["loss", "my metric", "learning rate"]
    assert [ax.get_yscale() for ax in figure.axes] == ["linear", "linear", "log"]
    drawn(figure)


def test_histograms(style):
    net, _, x, y = trained()
    weights = fb.plots.weight_histograms(net, bins=10)
    assert [ax.get_title(loc="left") for ax in weights.axes] == [f"{n}  {v.shape}" for n, v in net.params.items()]
    heights = [p.get_height() for p in weights.axes[0].patches]
    assert sum(heights) == net.params["0.weight"].size
    drawn(weights)
    with pytest.raises(ValueError, match=r"all gradients are 0; call net.loss_and_grad"):
        fb.plots.gradient_histograms(net.copy())
    net.loss_and_grad(x, y, fb.CrossEntropy())
    drawn(fb.plots.gradient_histograms(net))
    net.params["0.weight"][0, 0] = np.nan
    net.params["3.bias"][...] = np.inf
    broken = fb.plots.weight_histograms(net)
    assert "1 not finite" in broken.axes[0].get_xlabel()
    assert broken.axes[-1].get_xlabel() == "nothing finite"
    drawn(broken)


def test_decision_surface_of_classes(style):
    net, _, x, y = trained()
    figure = fb.plots.decision_surface(net, x, y, resolution=21, feature_names=("width", "height"))
    (ax,) = figure.axes
    image = np.asarray(ax.images[0].get_array())
    u, v = (np.linspace(*limits, 21) for limits in (ax.get_xlim(), ax.get_ylim()))
    classes = net.predict(np.stack([g.ravel() for g in np.meshgrid(u, v)], axis=1)).argmax(axis=1).reshape(21, 21)
    for c in range(3):
        assert len(np.unique(image[classes == c][:, :3], axis=0)) <= 1
    assert len(np.unique(image[..., :3].reshape(-1, 3), axis=0)) == len(np.unique(classes))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("width", "height")
    assert sum(len(c.get_offsets()) for c in ax.collections) == len(x)
    drawn(figure)
    drawn(fb.plots.decision_surface(net, x))


@pytest.mark.parametrize("labels", [None, "classes", "values"])
def test_decision_surface_of_one_output(style, labels):
    net = fb.Sequential(fb.Linear(2, 8), fb.Tanh(), fb.Linear(8, 1), seed=0, backend="reference")
    x = np.random.default_rng(0).standard_normal((30, 2))
    y = None if labels is None else (x[:, 0] > 0).astype(float) if labels == "classes" else x[:, :1]
    figure = fb.plots.decision_surface(net, x, y, resolution=15)
    values = np.asarray(figure.axes[0].images[0].get_array())
    corner = net.predict([[figure.axes[0].get_xlim()[0], figure.axes[0].get_ylim()[0]]])
    assert values[0, 0] == pytest.approx(float(corner[0, 0]), rel=1e-5)
    drawn(figure)
    drawn(fb.plots.decision_surface(net, np.zeros((1, 2))))


def test_confusion_matrix(style):
    scores = np.eye(3)[[0, 1, 1, 2, 2]]
    figure = fb.plots.confusion_matrix([0, 1, 2, 2, 2], scores, ["setosa", "versicolor", "virginica"])
    ax = figure.axes[0]
    assert {(t.get_position(), t.get_text()) for t in ax.texts} == \
        {((0, 0), "1"), ((1, 1), "1"), ((1, 2), "1"), ((2, 2), "2")}
    assert ax.get_title() == "accuracy 80.00% of 5"
    assert np.asarray(ax.images[0].get_array())[2] == pytest.approx([0, 1 / 3, 2 / 3])
    drawn(figure)
    drawn(fb.plots.confusion_matrix(np.arange(40), np.arange(40)[::-1]))


def test_importance(style):
    figure = fb.plots.importance({"a": 0.1, "b": 0.5, "c": -0.2}, most=2)
    ax = figure.axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]
    assert [bar.get_width() for bar in ax.patches] == [0.1, 0.5]
    drawn(figure)
    found = {"importances_mean": np.array([0.3, 0.1]), "importances_std": np.array([0.05, 0.02])}
    ax = fb.plots.importance(found, ["size", "city"]).axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["city", "size"]
    bars = next(c for c in ax.containers if hasattr(c, "errorbar"))
    (lines,) = bars.errorbar.lines[2]
    assert [line[:, 0].tolist() for line in lines.get_segments()] == [pytest.approx([0.08, 0.12]),
                                                                      pytest.approx([0.25, 0.35])]
    assert [t.get_text() for t in fb.plots.importance(found).axes[0].get_yticklabels()] == ["x1", "x0"]


def test_a_figure_that_is_handed_in():
    figure = pytest.importorskip("matplotlib.figure").Figure()
    assert fb.History([{"epoch": 1, "loss": 0.5}]).plot(figure) is figure
    assert len(figure.axes) == 1


def test_mistakes():
    pytest.importorskip("matplotlib")
    net, _, x, _ = trained()
    with pytest.raises(ValueError, match="no epochs yet"):
        fb.History().plot()
    with pytest.raises(ValueError, match=r"expected one input \(B, 2\) and one output"):
        fb.plots.decision_surface(fb.Sequential(fb.Linear(3, 2), backend="reference"), x)
    with pytest.raises(ValueError, match=r"X has shape \(60,\); expected \(N, 2\)"):
        fb.plots.decision_surface(net, x[:, 0])
    with pytest.raises(ValueError, match="resolution is 1"):
        fb.plots.decision_surface(net, x, resolution=1)
    with pytest.raises(ValueError, match="y_pred has 1 rows; expected 2"):
        fb.plots.confusion_matrix([0, 1], [0])
    with pytest.raises(ValueError, match=r"y_true has shape \(2,\) and dtype float64; expected labels"):
        fb.plots.confusion_matrix([0.5, 1.0], [0, 1])
    with pytest.raises(ValueError, match="class_names has 1 entries; expected 2"):
        fb.plots.confusion_matrix([0, 1], [0, 1], ["a"])
    with pytest.raises(TypeError, match="found is Sequential; expected numbers by name, or what sklearn"):
        fb.plots.importance(net)
    with pytest.raises(ValueError, match="names has 1 entries; expected 2"):
        fb.plots.importance({"importances_mean": [0.1, 0.2], "importances_std": [0, 0]}, ["a"])
    with pytest.raises(ValueError, match="has no parameters"):
        fb.plots.weight_histograms(fb.Sequential(fb.Input(2), fb.ReLU(), backend="reference"))


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'fastbp\[plot\]'"):
        fb.History([{"epoch": 1, "loss": 0.5}]).plot()


# ---- tables and drawings of networks ---------------------------------------------------------------------------------


def graph() -> fb.Network:
    a, b = fb.Input(4, name="a<b>"), fb.Input(4)
    shared = fb.Linear(4, 4, name="shared")
    h = fb.Add()(shared(a), fb.Dropout(0.25)(shared(b)), b)
    return fb.Network((a, b), (h, fb.Linear(None, 1, bias=False, trainable=False)(fb.LayerNorm()(h))),
                      backend="reference")


def test_the_drawing_is_sound(tmp_path):
    net = graph()
    text = net.to_svg(tmp_path / "net.svg")
    assert (tmp_path / "net.svg").read_text(encoding="utf-8") == text
    root = ElementTree.fromstring(text)
    boxes = root.findall(f".//{SVG}rect[@class='box']")
    assert len(boxes) == len(net.graph.tensors)
    heads = root.findall(f".//{SVG}path[@class='head']")
    assert len(heads) == sum(len(set(t.node.inputs)) for t in net.graph.tensors if t.node)
    labels = [t.text for t in root.iter(f"{SVG}text")]
    assert {"a<b>", "Linear(4, 4)", "Dropout(rate=0.25)", "Linear(1, bias=False)", "Add()"} <= set(labels)
    width, height = float(root.get("width")), float(root.get("height"))
    spans = [[float(b.get(k)) for k in ("x", "y", "width", "height")] for b in boxes]
    for i, (x, y, w, h) in enumerate(spans):
        assert x >= 0
        assert y >= 0
        assert x + w <= width
        assert y + h <= height
        for x2, y2, w2, h2 in spans[:i]:
            assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y, "boxes overlap"


def test_lines_go_down_and_around_boxes():
    a = fb.Input(3)
    h = a
    for _ in range(3):
        h = fb.Add()(fb.Tanh()(fb.Linear(3, 3)(h)), h)
    root = ElementTree.fromstring(fb.Network(a, h, backend="reference").to_svg())
    boxes = [[float(b.get(k)) for k in ("x", "y", "width", "height")] for b in root.iter(f"{SVG}rect") if b.get("x")]
    for line in root.findall(f".//{SVG}path[@class='edge']"):
        points = [tuple(map(float, p)) for p in re.findall(r"([\d.]+),([\d.]+)", line.get("d"))]
        heights = [y for _, y in points]
        assert heights == sorted(heights)
        for x, y in points[1:-1]:
            assert not any(x1 < x < x1 + w and y1 < y < y1 + h for x1, y1, w, h in boxes)


def test_the_table_for_notebooks():
    net = graph()
    html = net._repr_html_()
    root = ElementTree.fromstring(html.replace("<br>", " "))
    rows = [[cell.text or "" for cell in row] for row in root.iter("tr")]
    assert rows[0] == ["tensor", "layer", "shape", "parameters"]
    assert [r[0] for r in rows[1:]] == list(net.graph.names.values())
    assert all(line in html for line in ("parameters: 32, 28 of them trained", "for each row of a batch"))
