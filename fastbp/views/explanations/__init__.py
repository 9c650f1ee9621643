"""Explanations: one derivative by the chain rule, path by path, as text, formulas and pictures.

The parts, from below: ``parts`` is the data; ``rules``, ``accounts``, ``op_table`` and ``loss_table`` say how each op
and loss is written down, a row each; ``trace`` and ``paths`` read a finished run; ``diagram``, ``text``, ``steps``,
``picture`` and ``page`` show it; ``explanation`` is what users hold; ``gradients`` explains networks and ``scalars``
scalar expressions. Networks enter as :class:`~fastbp.engine.executable.Executable`, so nothing here knows the classes
that users hold; :mod:`fastbp.chainrule`, which makes such networks, stands above them and has the public names.
"""
