"""``chainrule.compare``: what it counts, its table, and its plot."""

from __future__ import annotations

import builtins
from xml.etree import ElementTree

import numpy as np
import pytest

from fastbp.chainrule import compare
from fastbp.chainrule.comparison import Comparison, Row


@pytest.fixture(scope="module")
def found():
    return compare(widths=(2, 8), seconds=0.02, backend="reference")


def test_it_counts_passes_and_both_gradients_agree(found):
    assert [(r.weights, r.passes) for r in found.rows] == [(27, 54), (153, 306)]
    assert all(r.difference < 1e-7 for r in found.rows)
    assert "forward passes" in str(found)
    assert "306" in str(found)


def test_what_takes_too_long_is_estimated_and_says_so():
    found = compare(widths=(40,), seconds=1e-9, backend="reference", lang="ko")
    assert found.rows[0].measured == 1
    assert "추정값" in str(found)


def test_short_on_one_line_and_a_table_in_notebooks():
    found = Comparison((Row(27, 54, 0.02, 0.01, 0.0, 27), Row(4801, 9602, 5.0, 0.01, 0.0, 4801)))
    assert repr(found) == ("Comparison(2 networks, 27 to 4,801 weights: numerical gradients take 2 to 500 times as "
                           "long)")
    assert found._repr_html_() == f"<pre>{found.text()}</pre>"


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_the_plot_has_both_lines(lang):
    pytest.importorskip("matplotlib")
    found = Comparison((Row(27, 54, 0.02, 0.01, 0.0, 27), Row(4801, 9602, 5.0, 0.01, 0.0, 4801)), lang)
    (axes,) = found.plot().axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    drawn = {line.get_label(): np.asarray(line.get_xydata()).tolist() for line in axes.get_lines()}
    assert list(drawn.values()) == [[[27, 0.02], [4801, 5.0]], [[27, 0.01], [4801, 0.01]]]
    assert len(set(drawn)) == 2
    root = ElementTree.fromstring(found.svg())
    assert root.tag == "{http://www.w3.org/2000/svg}svg"


def test_without_matplotlib_the_plot_says_what_to_install(found, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.split(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"plots need matplotlib; install it with: pip install 'fastbp\[plot\]'"):
        found.plot()


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="a time above 0"):
        compare(widths=(2,), seconds=0)
    with pytest.raises(ValueError, match="compare: widths is 0; expected a positive integer"):
        compare(widths=(0,))
