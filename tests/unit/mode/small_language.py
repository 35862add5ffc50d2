"""Two small languages that a small network learns in seconds: the same sentences in other words."""

import random
from pathlib import Path

from moist.mode.translation_corpus import Pairs, Sentences, Tokenizer, not_too_long, train_tokenizer
from moist.mode.translation_model import Translator, TranslatorSpec
from moist.mode.translation_training import TranslationTraining, build_translator

WORDS = {
    "mabo": "TIKE", "lune": "GORA", "fisa": "WUPI", "kode": "ZANE", "pali": "ROXU", "nuro": "SEMI", "gite": "VOHA",
    "sobu": "LERY", "dami": "CHOK", "veru": "BANT",
}  # fmt: skip
SMALL = TranslatorSpec(width=32, feed_forward=32, heads=2, layers=1, dropout=0.0)
DENSE = SMALL.model_copy(update={"gate": "dense", "experts": 2, "top_k": 2})
SPARSE = SMALL.model_copy(update={"gate": "sparse", "experts": 3, "top_k": 2})
TRAINING = TranslationTraining(alpha=0.0, epochs=2, batch_tokens=128, learning_rate=1e-2, label_smoothing=0.1)


def sentences(count: int, seed: int = 0, longest: int = 5) -> Sentences:
    """Pairs of sentences of one to `longest` words; the second is the first with its words replaced."""
    draw = random.Random(seed)
    source = [draw.choices(list(WORDS), k=draw.randint(1, longest)) for _ in range(count)]
    return Sentences(
        [" ".join(words) for words in source], [" ".join(WORDS[word] for word in words) for words in source]
    )


def learned(
    text: Sentences, spec: TranslatorSpec = SMALL, vocabulary: int = 110
) -> tuple[Tokenizer, Pairs, Translator]:
    """A tokenizer, the pairs, and a fresh network for them."""
    tokenizer = Tokenizer(train_tokenizer(text, vocabulary))
    pairs = not_too_long(tokenizer.pairs(text), 100)
    return tokenizer, pairs, build_translator(spec, len(tokenizer), pairs, seed=0)


def write_files(folder: Path, name: str, text: Sentences) -> tuple[Path, Path]:
    """The two files `name.a` and `name.b`."""
    for suffix, side in (("a", text.source), ("b", text.target)):
        (folder / f"{name}.{suffix}").write_text("\n".join(side) + "\n", "utf-8")
    return folder / f"{name}.a", folder / f"{name}.b"
