"""Tell the language of short texts: vectors of groups of letters, their mean, and a linear layer.

    python examples/languages.py

The texts are what programs say to their users, from the catalogues of translations that Linux has in /usr/share/locale;
or those of another folder, such as the one that Sphinx has: pip install sphinx. The net is that of Joulin et al.
(2016), https://arxiv.org/abs/1607.01759.
"""

from __future__ import annotations

import argparse
import gettext
import importlib.util
import re
import zlib
from pathlib import Path

import numpy as np

import fastbp as fb

LANGUAGES = {"de": "German", "es": "Spanish", "fr": "French", "it": "Italian", "nl": "Dutch", "pl": "Polish",
             "pt": "Portuguese", "sv": "Swedish"}
LETTERS, GROUPS, TABLE = 60, 180, 20_000
"""How much of a text is read, how many groups of letters that makes at most, and how many the table tells apart."""


def main() -> None:
    """Train on most texts, and tell the language of the others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="of catalogues: <language>/LC_MESSAGES/*.mo")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--most", type=int, default=4000, help="texts of each language")
    parser.add_argument("--backend", choices=("native", "reference"), default="native")
    options = parser.parse_args()

    texts = read(options.folder or default_folder(), options.most)
    names = [name for name in LANGUAGES.values() if name in texts]
    labels = np.concatenate([np.full(len(texts[name]), i) for i, name in enumerate(names)])
    ids = np.array([groups_of(text) for name in names for text in texts[name]])
    order = np.random.default_rng(0).permutation(len(ids))
    test, train = np.split(order, [len(order) // 5])

    net = fb.Sequential(fb.Input(GROUPS, dtype="int64"), fb.Embedding(TABLE, 16, padding_idx=0, mode="mean"),
                        fb.Linear(16, len(names)), seed=0, backend=options.backend)
    trainer = fb.Trainer(net, fb.CrossEntropy(), fb.Adam(0.01), metrics=["accuracy"])
    trainer.fit(ids[train], labels[train], epochs=options.epochs, batch_size=64, progress=False)
    print(f"{len(ids)} texts in {len(names)} languages; accuracy for those not seen "
          f"{100 * trainer.evaluate(ids[test], labels[test])['accuracy']:.1f}%, of the most frequent language "
          f"{100 * np.bincount(labels[test]).max() / len(test):.1f}%")
    for text in ("Wo ist der nächste Bahnhof?", "¿Dónde está la estación?", "Où est la gare ?", "Dov'è la stazione?"):
        logits = net.predict(np.array([groups_of(text)]))[0]
        print(f"{text} {names[int(logits.argmax())]}")


def default_folder() -> Path:
    """Return where the catalogues of Linux are, or those of Sphinx."""
    found = [Path("/usr/share/locale")]
    sphinx = importlib.util.find_spec("sphinx")
    if sphinx is not None and sphinx.origin is not None:
        found.append(Path(sphinx.origin).parent / "locale")
    for folder in found:
        if next(folder.glob("de/LC_MESSAGES/*.mo"), None) is not None:
            return folder
    raise SystemExit(f"there are no catalogues in {' or '.join(map(str, found))}; pip install sphinx, or say --folder")


def read(folder: Path, most: int) -> dict[str, list[str]]:
    """Return texts by language, each once: what programs say in words, without what is filled in."""
    texts: dict[str, list[str]] = {}
    for code, name in LANGUAGES.items():
        found: dict[str, None] = {}
        for path in sorted(folder.glob(f"{code}/LC_MESSAGES/*.mo")):
            said = [text for original, text in catalog(path).items() if original and text != original]
            cleaned = (" ".join(re.sub(r"[%\\{<&]\S*|[^\w'’ ]|\d", " ", text).split()) for text in said)
            found.update((text, None) for text in cleaned if len(text) > 11)
        if found:
            texts[name] = sorted(found, key=lambda text: zlib.crc32(text.encode()))[:most]
    return texts


def catalog(path: Path) -> dict[str, str]:
    """Return translations by the original; none of a file that says another encoding than it has."""
    try:
        with path.open("rb") as file:
            found = gettext.GNUTranslations(file)
    except UnicodeDecodeError:
        return {}
    texts: dict[str, str] = vars(found)["_catalog"]
    return texts


def groups_of(text: str) -> list[int]:
    """Return ids of the one, two and three letters that begin at each place, 0 for none: numbers of a table by hash."""
    padded = f" {text.lower()[:LETTERS - 2]} "
    found = [zlib.crc32(padded[i:i + size].encode()) % (TABLE - 1) + 1
             for size in (1, 2, 3) for i in range(len(padded) - size + 1)]
    return found + [0] * (GROUPS - len(found))


if __name__ == "__main__":
    main()
