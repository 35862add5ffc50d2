"""python -m moist.stages.train_translator.program --source IN --target IN --translator OUT --results OUT ..."""

import tempfile
import time
from pathlib import Path

from sacrebleu.metrics.bleu import BLEU

from moist.mode.results import write_results
from moist.mode.translation_corpus import (
    Sentences,
    Tokenizer,
    hold_out,
    not_too_long,
    read_parallel,
    train_tokenizer,
    without_empty,
)
from moist.mode.translation_model import TranslatorSpec
from moist.mode.translation_results import TranslationResults
from moist.mode.translation_search import translate
from moist.mode.translation_storage import save_translator
from moist.mode.translation_training import TranslationTraining, build_translator, train_translator, validation_loss
from moist.reports.pages import curves_page
from moist.reports.results import Curve
from moist.runtime.artifacts import write_json
from moist.runtime.contract import Metadata, main
from moist.runtime.progress import TerminalProgress
from moist.runtime.store import local_copy
from moist.runtime.training import checkpoints_of
from moist.stages.train_translator.settings import STAGE, Settings
from moist.training.precision import choose_device


def train(
    settings: Settings, *, translator: Path, results: Path, translations: Path, metrics: Path, curves: Path
) -> Metadata:
    """Train one translator, keep its last epoch, and translate the test sentences with beam search."""
    training_text, validation_text, test_text = _corpora(settings)
    tokenizer = Tokenizer(train_tokenizer(training_text, settings.vocabulary))
    pairs = not_too_long(tokenizer.pairs(training_text), settings.longest)
    validation = tokenizer.pairs(validation_text)
    chosen = {name: getattr(settings, name) for name in ("width", "feed_forward", "heads", "layers", "dropout")}
    spec = TranslatorSpec(**settings.name._asdict(), **chosen)
    training = TranslationTraining(**{name: getattr(settings, name) for name in TranslationTraining.model_fields})
    model = build_translator(spec, len(tokenizer), pairs, settings.seed).to(choose_device())

    def validate() -> dict[str, float]:
        return {
            "validation_loss": validation_loss(model, validation),
            "validation_bleu_greedy": _bleu(translate(model, tokenizer, validation_text.source, 1), validation_text)[0],
        }

    began = time.monotonic()
    history = train_translator(
        model,
        pairs,
        training,
        precision=settings.precision,
        progress=TerminalProgress(STAGE.name, unit="token"),
        checkpoints=checkpoints_of(settings.checkpoint_seconds),
        validate=validate,
    )
    seconds = round(time.monotonic() - began, 3)
    search = {"beam": settings.beam, "length_penalty": settings.length_penalty}
    written, of_validation = (
        translate(model, tokenizer, text.source, settings.beam, settings.length_penalty)
        for text in (test_text, validation_text)
    )
    test_bleu, signature = _bleu(written, test_text)
    found = TranslationResults(
        corpus=f"{_file(settings.source)} - {_file(settings.target)}",
        **settings.name._asdict(),
        alpha=settings.strength,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        vocabulary=len(tokenizer),
        pairs={"train": len(pairs.source), "validation": len(validation.source), "test": len(written)},
        network=chosen,
        training=training.model_dump(),
        series=history.series,
        search=search,
        test_bleu=test_bleu,
        validation_bleu=_bleu(of_validation, validation_text)[0],
        signature=signature,
        seconds=seconds,
    )
    save_translator(model, tokenizer, translator)
    write_results(found, results)
    _write_lines(translations, {"source": test_text.source, "translation": written, "reference": test_text.target})
    facts = {
        "test_bleu": found.test_bleu,
        "validation_bleu": found.validation_bleu,
        "parameters": found.parameters,
        "seconds": seconds,
        **{name: values[-1] for name, values in history.series.items()},
    }
    write_json(metrics / "metrics.json", {**facts, "signature": signature, "series": history.series})
    curves.write_text(curves_page(Curve(stage=STAGE.name, series=history.series)), "utf-8")
    return {"translator": {"corpus": found.corpus, **facts}, "metrics": facts}


def _corpora(settings: Settings) -> tuple[Sentences, Sentences, Sentences]:
    """Training, validation and test sentences; parts without files of their own are held out of the training files."""
    with tempfile.TemporaryDirectory(prefix="moist-source-") as folder:

        def read(part: str) -> Sentences:
            sides = [local_copy(getattr(settings, part + side), Path(folder)) for side in ("source", "target")]
            return without_empty(read_parallel(*map(Path, sides)))

        rest = read("")
        parts = []
        for number, part in enumerate(("validation_", "test_")):
            if getattr(settings, f"{part}source"):
                parts.append(read(part))
            else:
                rest, held_out = hold_out(rest, settings.seed + number)
                parts.append(held_out)
    return rest, parts[0], parts[1]


def _file(location: str) -> str:
    return location.rstrip("/").rsplit("/", 1)[-1]


def _bleu(written: list[str], references: Sentences) -> tuple[float, str]:
    metric = BLEU()
    score = float(metric.corpus_score(written, [references.target]).score)
    return score, str(metric.get_signature())


def _write_lines(folder: Path, files: dict[str, list[str]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in files.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main(STAGE, train)
