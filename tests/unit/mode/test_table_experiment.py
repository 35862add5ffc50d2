"""Experiments on a table: paired by seed, alpha chosen on validation, probed as trained, narrow vision measured."""

import numpy as np
import pytest
import torch
from moist.errors import DamagedArtifactError, InputError
from moist.mode.comparison import compare_results
from moist.mode.narrow_vision import gradient_norms, gradient_shares
from moist.mode.results import VariantResults
from moist.mode.statistics import Paired, Summary
from moist.mode.table_experiment import probe_variant, table_results, train_variant
from moist.mode.table_mixtures import DENSE, SINGLE, TableModel
from moist.mode.table_training import TableTraining, train_batched
from moist.mode.tables import Table
from scipy import stats

QUICK = TableTraining(epochs=3, batch_size=16, learning_rate=0.01)
SEEDS = [0, 1, 2]


def test_paired_difference_is_students_interval() -> None:
    after, before = [0.9, 0.8, 0.95, 0.7], [0.85, 0.8, 0.9, 0.72]
    paired = Paired.of(after, before)
    interval = stats.ttest_rel(after, before).confidence_interval(0.95)
    assert (paired.low, paired.high) == pytest.approx((interval.low, interval.high))
    assert paired.mean == pytest.approx(0.02)
    assert Paired.of([1.0], [0.5]) == Paired(runs=1, mean=0.5, low=None, high=None)
    assert Summary.of([1.0, 3.0]).std == pytest.approx(np.sqrt(2))
    with pytest.raises(InputError, match="got 2 and 1"):
        Paired.of([1, 2], [1])


def test_a_comparison_of_trained_variants_is_paired_by_seed(blobs: Table) -> None:
    variants = [
        train_variant(blobs, model, QUICK, alphas, SEEDS)[1]
        for model, alphas in ((SINGLE, [0.0]), (DENSE, [0.0, 0.01, 0.1]))
    ]
    found = table_results(blobs, variants)
    assert (found.table, found.features, found.rows) == ("blobs", blobs.features.shape[1], len(blobs.labels))
    (line,) = compare_results([found], [0.01, 0.1]).lines
    choice = line.of("dense")
    assert line.single is not None
    assert choice is not None
    assert len(line.single.values) == len(choice.moe.values) == len(SEEDS)
    assert choice.difference.mean == pytest.approx(np.mean(np.subtract(choice.mode.values, choice.moe.values)))


def test_alpha_is_chosen_on_validation_and_reported_as_trained(digits: Table) -> None:
    training = TableTraining(epochs=4, learning_rate=0.005)
    _, variant = train_variant(digits, DENSE, training, [0.0, 1000.0, 0.01], [0, 1])
    choice = compare_results([table_results(digits, [variant])], [1000.0, 0.01]).lines[0].of("dense")
    assert choice is not None
    assert choice.alpha == 0.01  # alpha 1000 ruins it, on validation as on test
    alone = train_batched(digits, DENSE, training, [0.0, 0.01], [0, 1])
    assert choice.mode.values == pytest.approx(alone.test_accuracy[:, 1].tolist())
    assert choice.moe.values == pytest.approx(alone.test_accuracy[:, 0].tolist())


def test_alpha_is_not_chosen_on_the_test_rows(digits: Table) -> None:
    alphas = [0.0, 0.01, 0.03, 0.1]
    trained, variant = train_variant(digits, DENSE, TableTraining(epochs=5), alphas, [4, 5])
    by_validation = alphas[1 + int(trained.validation_accuracy[:, 1:].mean(dim=0).argmax())]
    assert by_validation != alphas[1 + int(trained.test_accuracy[:, 1:].mean(dim=0).argmax())], "find another case"
    choice = compare_results([table_results(digits, [variant])], alphas).lines[0].of("dense")
    assert choice is not None
    assert choice.alpha == by_validation


@pytest.mark.parametrize("model", [DENSE, TableModel(gate="sparse", experts=4, top_k=2)])
def test_every_seed_is_probed_with_the_accuracy_of_training(blobs: Table, model: TableModel) -> None:
    trained, results = train_variant(blobs, model, QUICK, [0.0, 100.0], SEEDS)
    probed = probe_variant(trained.model, results, blobs)
    for v, probes in enumerate(probed.probes):
        assert [probe.accuracy for probe in probes] == pytest.approx(trained.test_accuracy[:, v].tolist())
        assert all(probe.inputs == 18 for probe in probes)


def test_mixtures_of_another_table_are_not_probed(blobs: Table) -> None:
    trained, results = train_variant(blobs, DENSE, QUICK, [0.0], SEEDS)
    other = blobs._replace(labels=blobs.labels[::-1].copy())
    with pytest.raises(DamagedArtifactError, match=r"seed 0 and alpha 0 reaches .* another table"):
        probe_variant(trained.model, results, other)


def test_excessive_distillation_makes_experts_agree(digits: Table) -> None:
    trained, results = train_variant(digits, DENSE, TableTraining(epochs=8, learning_rate=0.005), [0.0, 10.0], [0])
    (free,), (bound,) = probe_variant(trained.model, results, digits).probes
    assert bound.consistency > free.consistency + 0.2  # type: ignore[operator]


def test_gradient_norms_are_those_of_autograd_subset_by_subset(small_digits: Table) -> None:
    alphas = torch.tensor([0.0, 0.5], dtype=torch.double)
    trained = train_batched(small_digits, DENSE, QUICK, alphas.tolist(), [4, 6])
    x, labels = trained.data.train, trained.data.train_labels
    norms = gradient_norms(trained.model, x, labels, alphas)
    for s in range(2):
        for v in range(2):
            mixture = trained.model.member(s, v)
            output = mixture(x[s])
            loss = torch.nn.functional.cross_entropy(output.output, labels[s], reduction="none")
            loss = loss + alphas[v] * (output.expert_outputs[:, 0] - output.expert_outputs[:, 1]).square().mean(dim=1)
            dominating = output.weights.argmax(dim=1)
            for subset in range(2):
                mixture.zero_grad()
                loss[dominating == subset].sum().backward(retain_graph=True)
                for e, expert in enumerate(mixture.experts):
                    flat = torch.cat([parameter.grad.flatten() for parameter in expert.parameters()])
                    torch.testing.assert_close(norms[s, v, subset, e], flat.norm())


def test_gradient_shares_are_rows_of_1_and_none_without_gradient() -> None:
    shares = gradient_shares(torch.tensor([[3.0, 1.0], [0.0, 0.0]]))
    assert shares[0].tolist() == [0.75, 0.25]
    assert shares[1].isnan().all()
    with pytest.raises(InputError, match="negative"):
        gradient_shares(torch.tensor([[-1.0, 2.0]]))


def test_narrow_vision_is_looked_at_every_fifth_epoch(blobs: Table) -> None:
    training = TableTraining(epochs=11, batch_size=16, learning_rate=0.01)

    def vision(model: TableModel, look: bool) -> VariantResults:
        return train_variant(blobs, model, training, [0.0, 1.0], SEEDS, narrow_vision=look)[1]

    plain, distilled = vision(DENSE, True).narrow_vision
    for found in (plain, distilled):
        assert found.epochs == [1, 6, 11]
        assert len(found.own_share) == 3
        assert [sum(row) for row in found.share] == pytest.approx([1.0, 1.0])  # type: ignore[arg-type]
    assert distilled.own_share[-1] < plain.own_share[-1]  # type: ignore[operator]
    assert vision(DENSE, False).narrow_vision == []
    assert vision(SINGLE, True).narrow_vision == []
