"""Parallel text: two files of one sentence a line, a joint subword vocabulary, and batches of nearly equal length."""

import gzip
import io
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import sentencepiece
import torch
from torch import Tensor

from moist.errors import InputError

PAD, UNKNOWN, BEGIN, END = 0, 1, 2, 3
"""Pieces of every vocabulary: filling, what cannot be spelt, start and end of a sentence."""

Pieces = list[int]


class Sentences(NamedTuple):
    """Sentence pairs as text, equally many on both sides."""

    source: list[str]
    target: list[str]


class Pairs(NamedTuple):
    """Sentence pairs as pieces, without begin and end."""

    source: list[Pieces]
    target: list[Pieces]


class Batch(NamedTuple):
    """B sentence pairs, filled with PAD."""

    source: Tensor
    """int64 (B, S): pieces and END"""
    target: Tensor
    """int64 (B, T): BEGIN, pieces and END"""


def read_parallel(source: Path, target: Path) -> Sentences:
    """Read two text files (UTF-8, plain or .gz) whose lines correspond.

    Raises InputError for a file that is missing, not UTF-8 or without text, and for files of different length.
    """
    sides = [_read_lines(source), _read_lines(target)]
    if len(sides[0]) != len(sides[1]):
        raise InputError(
            f"{source} has {len(sides[0])} sentences, but {target} has {len(sides[1])}: "
            "parallel files have one sentence a line, and equally many lines."
        )
    return Sentences(*sides)


def _read_lines(path: Path) -> list[str]:
    if not path.is_file():
        raise InputError(f"there is no file {path}.")
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix.lower() == ".gz" else content).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(f"{path} is not UTF-8 text (line {line}): convert it, for example with iconv.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {error}.") from None
    lines = [line.strip() for line in text.removesuffix("\n").split("\n")]
    if not any(lines):
        raise InputError(f"{path} is empty: it must hold one sentence a line.")
    return lines


def without_empty(sentences: Sentences) -> Sentences:
    """The pairs that have text on both sides. Raises InputError when there is none."""
    kept = [(s, t) for s, t in zip(sentences.source, sentences.target, strict=True) if s and t]
    if not kept:
        raise InputError("the corpus is empty: no sentence pair has text on both sides.")
    return Sentences([s for s, _ in kept], [t for _, t in kept])


def hold_out(sentences: Sentences, seed: int) -> tuple[Sentences, Sentences]:
    """Part the pairs by chance into those that stay and those held out: a tenth, but at most 1000.

    Raises InputError when there are too few to part.
    """
    count = min(1000, len(sentences.source) // 10)
    if count == 0:
        raise InputError(
            f"the corpus has {len(sentences.source)} sentence pairs, too few to hold some out: give 10 or more, or "
            "name validation and test files."
        )
    order = torch.randperm(len(sentences.source), generator=torch.Generator().manual_seed(seed)).tolist()
    parts = [sorted(order[count:]), sorted(order[:count])]
    rest, held_out = (Sentences(*([side[i] for i in part] for side in sentences)) for part in parts)
    return rest, held_out


def train_tokenizer(sentences: Sentences, vocabulary: int) -> bytes:
    """A joint byte-pair encoding of both languages with `vocabulary` pieces, as sentencepiece's model file.

    The same sentences give the same file. Raises InputError when they do not support so many pieces, or need more.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([*sentences.source, *sentences.target]),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocabulary,
            character_coverage=1.0,
            max_sentence_length=2**20,
            pad_id=PAD,
            unk_id=UNKNOWN,
            bos_id=BEGIN,
            eos_id=END,
            num_threads=1,
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        raise InputError(_vocabulary_sentence(vocabulary, str(error))) from None
    return model.getvalue()


def _vocabulary_sentence(vocabulary: int, said: str) -> str:
    most = re.search(r"value <= (\d+)", said)
    least = re.search(r"smaller than required_chars\. \d+ vs (\d+)", said)
    if most:
        return f"vocabulary is {vocabulary}, but this corpus supports at most {most[1]} pieces: give a smaller one."
    if least:
        return f"vocabulary is {vocabulary}, but this corpus has {least[1]} characters alone: give a larger one."
    return f"no vocabulary of {vocabulary} pieces can be made from this corpus ({said.strip().splitlines()[-1]})."


class Tokenizer:
    """Text to pieces and back."""

    def __init__(self, model: bytes) -> None:
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        self.model = model

    def __len__(self) -> int:
        return int(self._processor.get_piece_size())

    def encode(self, texts: Sequence[str]) -> list[Pieces]:
        """The pieces of each sentence."""
        return [list(pieces) for pieces in self._processor.encode(list(texts))]

    def decode(self, pieces: Sequence[Pieces]) -> list[str]:
        """The text of each sentence."""
        return [str(text) for text in self._processor.decode([list(sentence) for sentence in pieces])]

    def pairs(self, sentences: Sentences) -> Pairs:
        """Both sides as pieces."""
        return Pairs(self.encode(sentences.source), self.encode(sentences.target))


def not_too_long(pairs: Pairs, longest: int) -> Pairs:
    """The pairs of at most `longest` pieces on each side. Raises InputError when there is none."""
    kept = [(s, t) for s, t in zip(*pairs, strict=True) if max(len(s), len(t)) <= longest]
    if not kept:
        raise InputError(f"every sentence pair is longer than {longest} pieces: give a larger longest.")
    return Pairs([s for s, _ in kept], [t for _, t in kept])


def epoch_batches(pairs: Pairs, tokens: int, seed: int, epoch: int) -> list[Tensor]:
    """Which pairs are in each batch of an epoch, int64 (B,) each: at most `tokens` a side, filling included.

    Pairs of like length go together, in an order that depends on seed and epoch alone; one pair longer than `tokens` is
    a batch of its own.
    """
    draw = torch.Generator().manual_seed(seed * 100_003 + epoch)
    shuffled = torch.randperm(len(pairs.source), generator=draw).tolist()
    size = [(len(t) + 1, len(s) + 1) for s, t in zip(*pairs, strict=True)]
    shuffled.sort(key=size.__getitem__)  # stable, so pairs of equal lengths stay shuffled
    batches: list[list[int]] = []
    widest = 0
    for index in shuffled:
        widest = max(widest, *size[index])
        if not batches or widest * (len(batches[-1]) + 1) > tokens:
            batches.append([])
            widest = max(size[index])
        batches[-1].append(index)
    order = torch.randperm(len(batches), generator=draw).tolist()
    return [torch.tensor(batches[index]) for index in order]


def batch_of(pairs: Pairs, indices: Tensor, device: torch.device) -> Batch:
    """The pairs at `indices`, int64 (B,)."""
    chosen = indices.tolist()
    source = [[*pairs.source[index], END] for index in chosen]
    target = [[BEGIN, *pairs.target[index], END] for index in chosen]
    return Batch(filled(source).to(device), filled(target).to(device))


def filled(sentences: Sequence[Pieces]) -> Tensor:
    """int64 (B, longest): sentences of different length, filled with PAD at the end."""
    tensors = [torch.tensor(sentence, dtype=torch.int64) for sentence in sentences]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=PAD)
