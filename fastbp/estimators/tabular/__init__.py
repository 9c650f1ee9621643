"""Estimators for tables: ``fb.TabularClassifier`` and ``fb.TabularRegressor``.

The way of the data: `datasets/columns` reads a frame or an array into columns of few kinds, `schema` decides once,
from the training rows, what is done to each and makes numbers of them, `member_network` builds an ensemble whose
members share weights, `member_training` trains it and keeps the best epoch, `tabular` has what both estimators share.
"""
