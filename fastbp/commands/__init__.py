"""The commands of ``python -m fastbp``, one a module."""
