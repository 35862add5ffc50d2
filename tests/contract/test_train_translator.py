"""The stage train_translator: what it writes, what it takes from elsewhere, and what it refuses in one sentence."""

import gzip
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from moist.mode.results import read_results
from moist.mode.translation_results import TranslationResults
from moist.mode.translation_search import translate
from moist.mode.translation_storage import load_translator
from moist.runtime.contract import CHECKPOINTS, main
from moist.runtime.local_store import store
from moist.runtime.store import Store
from moist.stages.train_translator.program import train
from moist.stages.train_translator.settings import STAGE
from sacrebleu.metrics import BLEU

Run = Callable[..., tuple[int, str]]
WORDS = {"eins": "one", "zwei": "two", "drei": "three", "vier": "four", "acht": "eight", "neun": "nine"}
SMALL = (
    *("--vocabulary", "50", "--width", "16", "--heads", "2", "--feed-forward", "16", "--layers", "1", "--epochs", "1"),
    *("--batch-tokens", "64", "--learning-rate", "0.01", "--beam", "2"),
)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs the stage in this process; returns its exit code and what it said last."""

    def run(*argv: str | Path) -> tuple[int, str]:
        outputs: list[str | Path] = []
        for name, port in STAGE.outputs.items():
            outputs += [f"--{name}", tmp_path / "out" / (f"{name}.html" if port.is_file else name)]
        before, threads = signal.getsignal(signal.SIGTERM), torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            main(STAGE, train, [str(part) for part in (*SMALL, *outputs, *argv)])
        except SystemExit as end:
            said = capsys.readouterr().err.strip().splitlines()
            return int(end.code or 0), said[-1] if said else ""
        finally:
            signal.signal(signal.SIGTERM, before)
            torch.set_num_threads(threads)

    return run


def corpus(folder: Path, name: str = "train", count: int = 80, seed: int = 0) -> tuple[str, ...]:
    """Two files of small sentences, as the stage's flags."""
    draw = random.Random(seed)
    source = [draw.choices(list(WORDS), k=draw.randint(1, 4)) for _ in range(count)]
    (folder / f"{name}.de").write_text("".join(f"{' '.join(words)}\n" for words in source), "utf-8")
    (folder / f"{name}.en").write_text("".join(f"{' '.join(WORDS[w] for w in words)}\n" for words in source), "utf-8")
    prefix = "" if name == "train" else f"{name}-"
    return f"--{prefix}source", str(folder / f"{name}.de"), f"--{prefix}target", str(folder / f"{name}.en")


def test_its_outputs_fit_each_other(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CHECKPOINTS, str(tmp_path / "checkpoints"))
    parts = [*corpus(tmp_path), *corpus(tmp_path, "validation", 7, 1), *corpus(tmp_path, "test", 5, 2)]
    assert run(*parts, "--model", "dense-2", "--alpha", "1", "--checkpoint-seconds", "0")[0] == 0
    results = read_results(TranslationResults, tmp_path / "out" / "results")
    assert (results.variant, results.experts, results.alpha) == ("MoDE", 2, 1.0)
    assert results.pairs == {"train": 80, "validation": 7, "test": 5}
    assert results.corpus == "train.de - train.en"
    assert {len(values) for values in results.series.values()} == {1}
    lines = {
        name: (tmp_path / "out" / "translations" / f"{name}.txt").read_text("utf-8").splitlines()
        for name in ("source", "translation", "reference")
    }
    assert lines["source"] == (tmp_path / "test.de").read_text("utf-8").splitlines()
    assert lines["reference"] == (tmp_path / "test.en").read_text("utf-8").splitlines()
    metric = BLEU()
    assert results.test_bleu == metric.corpus_score(lines["translation"], [lines["reference"]]).score
    assert results.signature == str(metric.get_signature())
    model, tokenizer = load_translator(tmp_path / "out" / "translator")
    assert translate(model, tokenizer, lines["source"], beam=2) == lines["translation"]
    assert results.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert not list((tmp_path / "checkpoints").rglob("*.pt"))  # kept while it trained, removed once it was done


def test_two_files_are_enough_and_may_lie_in_a_store(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus(tmp_path)
    (tmp_path / "files").mkdir()
    for side in ("de", "en"):
        (tmp_path / "files" / f"t.{side}.gz").write_bytes(gzip.compress((tmp_path / f"train.{side}").read_bytes()))
    with store(tmp_path / "store") as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        remote = Store.of(environment)
        remote.ensure_bucket("data")
        remote.upload(tmp_path / "files", "s3://data/text")
        assert run("--source", "s3://data/text/t.de.gz", "--target", "s3://data/text/t.en.gz")[0] == 0
    results = read_results(TranslationResults, tmp_path / "out" / "results")
    assert results.variant == "single"
    assert results.pairs == {"train": 65, "validation": 8, "test": 7}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--model", "sparse-2-3"), "3 of 2 experts cannot be chosen"),
        (("--model", "dense"), "give single, dense-E or sparse-E-K"),
        (("--alpha", "1"), "Setting alpha=1 is not allowed with model='single'"),
        (("--alpha", "-1", "--model", "dense-2"), "Setting alpha='-1' is not allowed: give a number"),
        (("--width", "18", "--heads", "4"), "Setting width=18 is not allowed"),
        (("--test-source", "x"), "Settings test_source and test_target go together"),
        (("--source", ""), "Setting source='' is not allowed"),
        (("--vocabulary", "9000"), "vocabulary is 9000, but this corpus supports at most"),
        (("--source", "nowhere.de"), "there is no file nowhere.de"),
    ],
)
def test_what_it_cannot_use_it_refuses_in_one_sentence(
    tmp_path: Path, run: Run, flags: tuple[str, ...], said: str
) -> None:
    code, sentence = run(*corpus(tmp_path), *flags)
    assert (code, sentence.startswith("train_translator: "), said in sentence) == (2, True, True), sentence
    assert not (tmp_path / "out" / "results").exists()


def test_files_of_different_length_are_refused(tmp_path: Path, run: Run) -> None:
    parts = corpus(tmp_path)
    with (tmp_path / "train.de").open("a") as file:
        file.write("eins\n")
    code, sentence = run(*parts)
    assert code == 2
    assert "train.de has 81 sentences, but" in sentence
    assert "train.en has 80" in sentence
