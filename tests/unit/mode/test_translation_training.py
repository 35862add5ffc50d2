"""Training and search of translators: a small language is learned, restarts end alike, beam 1 is greedy."""

import copy
from typing import Any

import pytest
import torch
from moist.errors import DivergedError, InputError
from moist.mode.translation_corpus import BEGIN, END, Pairs, Pieces, Tokenizer, batch_of, epoch_batches
from moist.mode.translation_model import Translator, TranslatorSpec
from moist.mode.translation_search import EXTRA_PIECES, search, translate
from moist.mode.translation_training import BETAS, task_loss, train_translator, validation_loss
from sacrebleu.metrics import BLEU
from small_language import DENSE, SMALL, SPARSE, TRAINING, learned, sentences


@pytest.fixture(scope="module")
def trained() -> tuple[Tokenizer, Translator]:
    """A translator of the small language."""
    tokenizer, pairs, model = learned(sentences(1000))
    train_translator(model, pairs, TRAINING.model_copy(update={"epochs": 10}))
    return tokenizer, model


def test_a_small_language_is_learned(trained: tuple[Tokenizer, Translator]) -> None:
    tokenizer, model = trained
    test = sentences(50, seed=9)
    written = translate(model, tokenizer, test.source)
    assert BLEU().corpus_score(written, [test.target]).score > 90
    assert validation_loss(model, tokenizer.pairs(test)) < 0.5


@torch.no_grad()
def greedy(model: Translator, pieces: Pieces) -> Pieces:
    """One sentence, most likely piece by most likely piece, everything computed anew at each."""
    source = torch.tensor([[*pieces, END]])
    written: Pieces = []
    while len(written) < len(pieces) + EXTRA_PIECES:
        states, _ = model(source, torch.tensor([[BEGIN, *written]]))
        piece = int(model.scored[model.logits(states[0, -1]).argmax()])
        if piece == END:
            break
        written.append(piece)
    return written


@torch.no_grad()
def log_probability(model: Translator, source: Pieces, target: Pieces) -> float:
    """Of a whole translation and its end."""
    states, _ = model(torch.tensor([[*source, END]]), torch.tensor([[BEGIN, *target]]))
    chosen = torch.searchsorted(model.scored, torch.tensor([*target, END]))
    return float(model.logits(states[0]).log_softmax(dim=1)[torch.arange(len(chosen)), chosen].sum())


def undertrained(spec: TranslatorSpec = SMALL) -> tuple[Tokenizer, Translator]:
    """A network that knows too little for its best guesses to be certain."""
    tokenizer, pairs, model = learned(sentences(60), spec)
    train_translator(model, pairs, TRAINING)
    return tokenizer, model


@pytest.mark.parametrize("spec", [SMALL, SPARSE], ids=["single", "sparse"])
def test_beam_1_is_greedy(spec: TranslatorSpec) -> None:
    tokenizer, model = undertrained(spec)
    sources = tokenizer.encode(sentences(12, seed=4).source)
    assert search(model, sources, beam=1) == [greedy(model, pieces) for pieces in sources]


def test_a_wider_beam_finds_what_is_more_likely() -> None:
    tokenizer, model = undertrained()
    sources = tokenizer.encode(sentences(20, seed=5).source)
    narrow, wide = (search(model, sources, beam, length_penalty=0.0) for beam in (1, 6))
    gains = [
        log_probability(model, s, b) - log_probability(model, s, a)
        for s, a, b in zip(sources, narrow, wide, strict=True)
    ]
    assert sum(gain > 1e-4 for gain in gains) > sum(gain < -1e-4 for gain in gains)
    assert sum(gains) > 0


def test_a_translation_does_not_depend_on_its_neighbours(trained: tuple[Tokenizer, Translator]) -> None:
    tokenizer, model = trained
    texts = sentences(15, seed=6).source
    together = translate(model, tokenizer, texts)
    assert together == [translate(model, tokenizer, [text])[0] for text in texts]
    with pytest.raises(InputError, match="beam is 0"):
        translate(model, tokenizer, texts, beam=0)


def test_with_alpha_0_the_weights_are_those_of_the_plain_mixture() -> None:
    _, pairs, model = learned(sentences(60), DENSE)
    plain = copy.deepcopy(model)
    training = TRAINING.model_copy(update={"epochs": 1, "warmup": 0.0, "alpha": 0.0})
    train_translator(model, pairs, training, precision="fp32")  # as the plain loop below
    batches = epoch_batches(pairs, training.batch_tokens, training.seed, 1)
    optimizer = torch.optim.AdamW(plain.parameters(), training.learning_rate, BETAS, weight_decay=0.0, fused=True)
    for step, chosen in enumerate(batches):
        optimizer.param_groups[0]["lr"] = training.learning_rate * _factor(step, len(batches))
        batch = batch_of(pairs, chosen, torch.device("cpu"))
        states, _ = plain(batch.source, batch.target[:, :-1])
        optimizer.zero_grad()
        task_loss(plain, states, batch.target, training.label_smoothing).backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True))


def _factor(step: int, steps: int) -> float:
    return 1.0 if step == 0 else (steps - step) / (steps - 1)


def test_distillation_brings_the_experts_together() -> None:
    apart = {}
    for alpha in (0.0, 10.0):
        _, pairs, model = learned(sentences(60), DENSE)
        train_translator(model, pairs, TRAINING.model_copy(update={"alpha": alpha, "epochs": 4}))
        batch = batch_of(pairs, torch.arange(20), torch.device("cpu"))
        with torch.no_grad():
            _, outputs = model(*batch)
        apart[alpha] = sum(float((o.expert_outputs[:, 0] - o.expert_outputs[:, 1]).square().mean()) for o in outputs)
    assert apart[10.0] < apart[0.0] / 4


class Kept:
    """Checkpoints in memory, after every look at the loss; the process can be cut off at one of them."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.state: dict[str, Any] | None = None
        self.count, self.stop_at = 0, stop_at

    def load(self) -> dict[str, Any] | None:
        return self.state

    def due(self, finished: bool = False) -> bool:
        return True

    def save(self, state: dict[str, Any]) -> None:
        self.state = copy.deepcopy(state)
        self.count += 1
        if self.count == self.stop_at:
            self.stop_at = None
            raise InterruptedError


@pytest.mark.parametrize("stop_at", [1, 2])
def test_a_run_that_goes_on_ends_with_the_bits_of_an_undisturbed_one(stop_at: int) -> None:
    text = sentences(700)
    spec = SPARSE.model_copy(update={"dropout": 0.1})  # dropout and the gate's noise are drawn from the global state
    _, pairs, undisturbed = learned(text, spec)
    wanted = train_translator(undisturbed, pairs, TRAINING)
    _, _, first = learned(text, spec)
    kept = Kept(stop_at)
    with pytest.raises(InterruptedError):
        train_translator(first, pairs, TRAINING, checkpoints=kept)
    assert kept.state is not None
    assert (kept.state["step"] > 0) == (stop_at == 1)  # within an epoch, and after one
    _, _, second = learned(text, spec)
    found = train_translator(second, pairs, TRAINING, checkpoints=kept)
    assert found.series == wanted.series
    assert all(torch.equal(a, b) for a, b in zip(second.parameters(), undisturbed.parameters(), strict=True))


class KeptOnce(Kept):
    """Only the first is due, and that of finished training."""

    def due(self, finished: bool = False) -> bool:
        return finished or not self.count


def test_that_training_is_finished_is_kept() -> None:
    """Else another run, which is to train anew, would go on from the last state before."""
    _, pairs, model = learned(sentences(60))
    kept = KeptOnce()
    train_translator(model, pairs, TRAINING, checkpoints=kept)
    assert kept.state is not None
    assert (kept.state["finished"], kept.state["epoch"]) == (True, TRAINING.epochs + 1)


def test_a_checkpoint_of_other_sentences_is_passed_over() -> None:
    _, pairs, model = learned(sentences(60))
    kept = Kept()
    train_translator(model, pairs, TRAINING, checkpoints=kept)
    fewer = Pairs(pairs.source[:50], pairs.target[:50])
    histories = []
    for checkpoints in (None, kept):
        _, _, fresh = learned(sentences(60))
        histories.append(train_translator(fresh, fewer, TRAINING, checkpoints=checkpoints).series)
    assert histories[0] == histories[1]


def test_divergence_is_an_error() -> None:
    _, pairs, model = learned(sentences(60))
    with torch.no_grad():
        model.target_embedding.weight[END] = float("nan")
    with pytest.raises(DivergedError, match=r"The loss became nan before step \d+ of epoch 1"):
        train_translator(model, pairs, TRAINING)


def test_a_piece_unseen_in_training_is_left_out_of_the_loss() -> None:
    tokenizer, pairs, model = learned(sentences(60))
    unseen = next(piece for piece in range(END + 1, len(tokenizer)) if piece not in model.scored)
    target = torch.tensor([[BEGIN, *pairs.target[0], END]])
    other = target.clone()
    other[0, 1] = unseen
    states = torch.randn(1, target.shape[1] - 1, SMALL.width)
    expected = task_loss(model, states[:, 1:], target[:, 1:], 0.0)
    torch.testing.assert_close(task_loss(model, states, other, 0.0), expected)
