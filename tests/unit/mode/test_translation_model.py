"""The translation network: filling and the future do not matter, mixtures see tokens only, storing loses nothing."""

from pathlib import Path

import pytest
import torch
from moist.errors import DamagedArtifactError, InputError
from moist.mode.distillation import mutual_distillation
from moist.mode.translation_corpus import BEGIN, END, PAD, Batch, batch_of
from moist.mode.translation_model import Translator, TranslatorSpec
from moist.mode.translation_storage import load_translator, save_translator
from moist.mode.translation_training import task_loss, whole_loss
from small_language import DENSE, SMALL, SPARSE, learned, sentences
from torch.nn import functional as F

SPECS = pytest.mark.parametrize("spec", [SMALL, DENSE, SPARSE], ids=["single", "dense", "sparse"])


def example(spec: TranslatorSpec) -> tuple[Translator, Batch]:
    _, pairs, model = learned(sentences(40), spec)
    return model.double().eval(), batch_of(pairs, torch.arange(8), torch.device("cpu"))


def wider(batch: Batch, by: int = 3) -> Batch:
    """The same sentences with more filling."""
    return Batch(*(F.pad(side, (0, by), value=PAD) for side in batch))


@SPECS
def test_filling_changes_neither_states_nor_losses(spec: TranslatorSpec) -> None:
    model, batch = example(spec)
    found = []
    for each in (batch, wider(batch)):
        states, outputs = model(each.source, each.target[:, :-1])
        loss = whole_loss(task_loss(model, states, each.target, 0.1), outputs, alpha=1.0, balance=0.1)
        found.append((states[:, : batch.target.shape[1] - 1][batch.target[:, 1:] != PAD], loss))
    torch.testing.assert_close(found[1][0], found[0][0])
    torch.testing.assert_close(found[1][1], found[0][1])


@SPECS
def test_a_state_does_not_depend_on_later_pieces_but_on_earlier_ones(spec: TranslatorSpec) -> None:
    model, batch = example(spec)
    pieces = torch.full((8, 6), 9)
    pieces[:, 0] = BEGIN
    changed = pieces.clone()
    changed[:, 3] = 10
    states, others = (model(batch.source, each)[0] for each in (pieces, changed))
    torch.testing.assert_close(others[:, :3], states[:, :3], rtol=0, atol=0)
    assert bool((others[:, 3:] != states[:, 3:]).any(dim=2).all())


@SPECS
def test_piece_by_piece_with_kept_keys_equals_all_at_once(spec: TranslatorSpec) -> None:
    model, batch = example(spec)
    target = torch.randint(END + 1, 100, (8, 5), generator=torch.Generator().manual_seed(0))
    target[:, 0] = BEGIN
    memory, seen, _ = model.encode(batch.source)
    whole, _, _ = model.decode(target, memory, seen)
    first, _, caches = model.decode(target[:, :1], memory, seen)
    states = [first[:, 0]]
    for step in range(1, 5):
        state, caches = model.decode_next(target[:, step], seen, caches)
        states.append(state)
    torch.testing.assert_close(torch.stack(states, dim=1), whole)


def test_only_the_first_blocks_have_mixtures_and_they_see_only_tokens() -> None:
    model, batch = example(DENSE.model_copy(update={"layers": 2}))
    _, (read, written) = model(batch.source, batch.target[:, :-1])
    assert len(read.weights) == int((batch.source != PAD).sum())
    assert len(written.weights) == int((batch.target[:, 1:] != PAD).sum())
    assert [block.feed_forward.mixed for block in (*model.encoder, *model.decoder)] == [True, False, True, False]


def test_the_loss_is_equation_8_over_both_mixtures() -> None:
    model, batch = example(DENSE)
    states, outputs = model(batch.source, batch.target[:, :-1])
    task = task_loss(model, states, batch.target, 0.1)
    assert whole_loss(task, outputs, alpha=0.0) is task
    apart = [mutual_distillation(output.expert_outputs) for output in outputs]
    assert len(apart) == 2
    assert min(apart) > 0
    torch.testing.assert_close(whole_loss(task, outputs, alpha=0.5), task + 0.5 * (apart[0] + apart[1]))


def test_the_task_loss_is_cross_entropy_over_pieces_that_can_be_right() -> None:
    model, batch = example(SMALL)
    assert not set(model.scored.tolist()) & {PAD, BEGIN}
    states, _ = model(batch.source, batch.target[:, :-1])
    logits = torch.full((*states.shape[:2], model.vocabulary), float("-inf"), dtype=torch.float32)
    logits[..., model.scored] = model.logits(states).float()
    expected = F.cross_entropy(logits.flatten(0, 1), batch.target[:, 1:].flatten(), ignore_index=PAD)
    torch.testing.assert_close(task_loss(model, states, batch.target, 0.0), expected)


@SPECS
def test_a_stored_translator_comes_back(tmp_path: Path, spec: TranslatorSpec) -> None:
    tokenizer, pairs, model = learned(sentences(40), spec)
    save_translator(model, tokenizer, tmp_path)
    again, words = load_translator(tmp_path)
    batch = batch_of(pairs, torch.arange(8), torch.device("cpu"))
    for found, wanted in zip(again(*batch), model.eval()(*batch), strict=True):
        if isinstance(wanted, torch.Tensor):
            assert torch.equal(found, wanted)
    assert words.encode(["mabo lune"]) == tokenizer.encode(["mabo lune"])


@pytest.mark.parametrize("damage", ["model.safetensors", "model.json", "tokenizer.model"])
def test_a_damaged_translator_is_refused(tmp_path: Path, damage: str) -> None:
    tokenizer, _, model = learned(sentences(40))
    save_translator(model, tokenizer, tmp_path)
    path = tmp_path / damage
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DamagedArtifactError, match="rerun train_translator"):
        load_translator(tmp_path)
    path.unlink()
    with pytest.raises(DamagedArtifactError, match="rerun train_translator"):
        load_translator(tmp_path)


def test_impossible_networks_are_refused() -> None:
    with pytest.raises(InputError, match="top_k is 3, but the mixture has 2 experts"):
        TranslatorSpec(gate="sparse", experts=2, top_k=3)
    with pytest.raises(InputError, match="width is 30"):
        TranslatorSpec(width=30, heads=4)
