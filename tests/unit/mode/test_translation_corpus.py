"""Parallel text: what is read, what is refused and in which words, the vocabulary, and the batches."""

import gzip
from pathlib import Path

import pytest
import torch
from moist.errors import InputError
from moist.mode.translation_corpus import (
    BEGIN,
    END,
    PAD,
    Pairs,
    Sentences,
    Tokenizer,
    batch_of,
    epoch_batches,
    hold_out,
    not_too_long,
    read_parallel,
    train_tokenizer,
    without_empty,
)
from small_language import sentences


def files(folder: Path, a: bytes, b: bytes, suffix: str = "txt") -> tuple[Path, Path]:
    paths = folder / f"a.{suffix}", folder / f"b.{suffix}"
    for path, content in zip(paths, (a, b), strict=True):
        path.write_bytes(content)
    return paths


def test_plain_and_gzip_files_are_read_alike(tmp_path: Path) -> None:
    # U+2028 and U+0085 end no line, although str.splitlines thinks so: the other side would be off by one.
    a, b = "Grüße\u2028an\n\ndich \r\n".encode(), "one\ntwo\nthree\u0085\n".encode()
    plain = read_parallel(*files(tmp_path, a, b))
    assert plain == Sentences(["Grüße\u2028an", "", "dich"], ["one", "two", "three"])
    assert read_parallel(*files(tmp_path, gzip.compress(a), gzip.compress(b), "txt.gz")) == plain
    assert without_empty(plain) == Sentences(["Grüße\u2028an", "dich"], ["one", "three"])


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        (b"one\ntwo\n", b"eins\n", r"a.txt has 2 sentences, but .*b.txt has 1: parallel files"),
        (b"", b"eins\n", r"a.txt is empty"),
        (b"one\n", b" \n\n", r"b.txt is empty"),
        (b"one\ntwo\n", "eins\nzwölf\n".encode("latin-1"), r"b.txt is not UTF-8 text \(line 2\)"),
    ],
)
def test_unusable_files_are_refused(tmp_path: Path, a: bytes, b: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_parallel(*files(tmp_path, a, b))


def test_missing_and_damaged_files_are_refused(tmp_path: Path) -> None:
    a, b = files(tmp_path, b"one\n", gzip.compress(b"eins\n")[:12], "gz")
    with pytest.raises(InputError, match=r"a.gz cannot be read"):
        read_parallel(a, b)
    damaged = bytearray(gzip.compress(b"eins\n" * 50))
    damaged[12] ^= 0xFF
    b.write_bytes(damaged)
    with pytest.raises(InputError, match=r"[ab].gz cannot be read"):
        read_parallel(a, b)
    with pytest.raises(InputError, match=r"there is no file .*nowhere"):
        read_parallel(tmp_path / "nowhere", b)


def test_an_empty_corpus_is_refused() -> None:
    with pytest.raises(InputError, match="the corpus is empty"):
        without_empty(Sentences(["one", ""], ["", "zwei"]))
    with pytest.raises(InputError, match="every sentence pair is longer than 1 pieces"):
        not_too_long(Pairs([[5, 6]], [[5]]), 1)


@pytest.mark.parametrize(
    ("vocabulary", "said"),
    [(5000, r"vocabulary is 5000, but this corpus supports at most \d+ pieces"), (8, r"has \d+ characters alone")],
)
def test_a_vocabulary_that_does_not_fit_the_corpus_is_refused(vocabulary: int, said: str) -> None:
    with pytest.raises(InputError, match=said):
        train_tokenizer(sentences(50), vocabulary)


def test_the_vocabulary_is_joint_and_loses_nothing() -> None:
    text = sentences(100)
    model = train_tokenizer(text, 110)
    assert model == train_tokenizer(text, 110)
    tokenizer = Tokenizer(model)
    assert len(tokenizer) == 110
    for side, pieces in zip(text, tokenizer.pairs(text), strict=True):
        assert tokenizer.decode(pieces) == side
        assert min(piece for sentence in pieces for piece in sentence) > END


def test_held_out_pairs_stay_pairs() -> None:
    text = Sentences([f"a{i}" for i in range(35)], [f"b{i}" for i in range(35)])
    rest, held_out = hold_out(text, 3)
    assert (len(rest.source), len(held_out.source)) == (32, 3)
    assert sorted([*rest.source, *held_out.source]) == sorted(text.source)
    for part in (rest, held_out):
        assert [s[1:] for s in part.source] == [t[1:] for t in part.target]
    with pytest.raises(InputError, match="9 sentence pairs, too few"):
        hold_out(Sentences(["a"] * 9, ["b"] * 9), 0)


def test_batches_hold_every_pair_once_and_no_more_tokens_than_allowed() -> None:
    draw = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 30, (300, 2), generator=draw).tolist()
    pairs = Pairs([[9] * s for s, _ in lengths], [[9] * t for _, t in lengths])
    batches = epoch_batches(pairs, 200, seed=1, epoch=1)
    assert sorted(torch.cat(batches).tolist()) == list(range(300))
    filled = tokens = 0
    for chosen in batches:
        batch = batch_of(pairs, chosen, torch.device("cpu"))
        assert max(batch.source.numel(), batch.target[:, 1:].numel()) <= 200
        filled += batch.target[:, 1:].numel()
        tokens += int((batch.target[:, 1:] != PAD).sum())
        assert bool((batch.target[:, 0] == BEGIN).all())
        assert int((batch.source == END).sum()) == int((batch.target == END).sum()) == len(chosen)
    assert tokens / filled > 0.9  # by chance it would be about a half
    again, other = epoch_batches(pairs, 200, seed=1, epoch=1), epoch_batches(pairs, 200, seed=1, epoch=2)
    assert [b.tolist() for b in again] == [b.tolist() for b in batches] != [b.tolist() for b in other]


def test_a_pair_longer_than_a_batch_is_a_batch_of_its_own() -> None:
    pairs = Pairs([[9] * 50, [9], [9]], [[9], [9], [9]])
    assert sorted(map(len, epoch_batches(pairs, 10, 0, 1))) == [1, 2]
