"""What several test files share."""

from importlib.util import find_spec


def backends() -> list[str]:
    """Return the backends that this installation has, for ``pytest.mark.parametrize``."""
    return ["reference", "native"] if find_spec("fastbp.backends.native") is not None else ["reference"]
