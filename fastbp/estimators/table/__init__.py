"""Tables of columns of all kinds, and the networks trained on them: ``python -m fastbp train table.csv --target y``.

`reading` reads files into columns, `columns` makes numbers of them, `table_model` is what is trained and kept.
"""
