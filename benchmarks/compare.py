"""Time a training step of six networks against the other libraries: the same as ``python -m fastbp bench``."""

import sys

from fastbp.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["bench", *sys.argv[1:]]))
