"""Explanations: one derivative by the chain rule, path by path, as text, formulas and pictures.

The parts, from below: ``parts`` is the data. ``accounts``, of the kinds in ``pointwise`` and ``sums``, say how ops are
written down; ``op_table`` and ``loss_table`` have a row for each op and loss. ``trace`` and ``paths`` read a finished
run. ``diagram``, ``text``, ``steps``, ``picture`` and ``page`` show it; ``explanation`` is what users hold.
``gradients`` explains networks, ``scalars`` scalar expressions. Networks enter as
:class:`~fastbp.engine.executable.Executable`, so nothing here knows the classes that users hold;
:mod:`fastbp.chainrule`, which makes such networks, stands above them and has the public names.
"""
