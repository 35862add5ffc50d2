"""The paper's tables and figures as typed results: paired by seed, chosen on validation, adding up."""

import numpy as np
import pytest
import torch
from moist.errors import InputError
from moist.mode.experiments import Table3, compare, figure_1, figure_4, table_3, table_6, table_7
from moist.mode.narrow_vision import gradient_norms, gradient_shares
from moist.mode.statistics import Paired, Summary
from moist.mode.table_mixtures import DENSE, TableModel
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


def test_table_3_holds_its_five_columns_and_survives_json(blobs: Table) -> None:
    other = blobs._replace(name="other", features=blobs.features[:, ::-1].copy())
    table = table_3([blobs, other], QUICK, SEEDS)
    assert [row.table for row in table.rows] == ["blobs", "other"]
    assert Table3.model_validate_json(table.model_dump_json()) == table
    for kind in ("dense", "sparse"):
        comparisons = [getattr(row, kind) for row in table.rows]
        differences = [np.subtract(c.mode.values, c.moe.values) for c in comparisons]
        assert [c.difference.mean for c in comparisons] == pytest.approx([d.mean() for d in differences])
        assert getattr(table, f"{kind}_difference").mean == pytest.approx(np.mean(differences))
        assert all(c.alpha in (0.01, 0.1) and len(c.moe.values) == 3 for c in comparisons)


def test_alpha_is_chosen_on_validation_and_reported_as_trained(digits: Table) -> None:
    training = TableTraining(epochs=4, learning_rate=0.005)
    row = table_3([digits], training, [0, 1], alphas=(1000.0, 0.01)).rows[0]
    assert row.dense.alpha == 0.01  # alpha 1000 ruins it, on validation as on test
    alone = train_batched(digits, DENSE, training, [0.0, 0.01], [0, 1])
    assert row.dense.mode.values == pytest.approx(alone.test_accuracy[:, 1].tolist())
    assert row.dense.moe.values == pytest.approx(alone.test_accuracy[:, 0].tolist())


def test_alpha_is_not_chosen_on_the_test_rows(digits: Table) -> None:
    training, seeds, alphas = TableTraining(epochs=5), [4, 5], (0.01, 0.03, 0.1)
    trained = train_batched(digits, DENSE, training, alphas, seeds)
    by_validation = alphas[int(trained.validation_accuracy.mean(dim=0).argmax())]
    assert by_validation != alphas[int(trained.test_accuracy.mean(dim=0).argmax())], "find another case to tell by"
    assert compare(digits, DENSE, training, seeds, alphas).alpha == by_validation


def test_table_7_and_figure_4(blobs: Table) -> None:
    table = table_7([blobs], QUICK, SEEDS, experts=(2, 3))
    assert [c.model.experts for c in table.rows["blobs"]] == [2, 3]
    figure = figure_4(blobs, QUICK, SEEDS, alphas=(0.1, 10.0))
    assert [point.alpha for point in figure.points] == [0.0, 0.1, 10.0]
    assert (figure.points[0].difference.mean, figure.points[0].difference.high) == (0.0, 0.0)
    with pytest.raises(InputError, match="each above 0"):
        figure_4(blobs, QUICK, SEEDS, alphas=(0.0,))


@pytest.mark.parametrize("model", [DENSE, TableModel(gate="sparse", experts=4, top_k=2)])
def test_table_6_probes_every_seed_and_its_accuracies_are_those_of_training(blobs: Table, model: TableModel) -> None:
    table = table_6(blobs, QUICK, SEEDS, alphas=(0.0, 100.0), model=model)
    trained = train_batched(blobs, model, QUICK, [0.0, 100.0], SEEDS)
    for v, column in enumerate(table.columns):
        accuracies = [probe.accuracy for probe in column.probes]
        assert accuracies == pytest.approx(trained.test_accuracy[:, v].tolist())
        assert all(probe.inputs == 18 for probe in column.probes)


def test_excessive_distillation_makes_experts_agree(digits: Table) -> None:
    training = TableTraining(epochs=8, learning_rate=0.005)
    free, bound = table_6(digits, training, [0], alphas=(0.0, 10.0)).columns
    assert bound.probes[0].consistency > free.probes[0].consistency + 0.2  # type: ignore[operator]


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


def test_figure_1_gives_a_share_for_every_epoch(blobs: Table) -> None:
    figure = figure_1(blobs, QUICK, SEEDS, alphas=(0.0, 1.0))
    for vision in figure.alphas:
        assert len(vision.own_share) == QUICK.epochs
        assert [sum(row) for row in vision.share] == pytest.approx([1.0, 1.0])  # type: ignore[arg-type]
    plain, distilled = figure.alphas
    assert distilled.own_share[-1] < plain.own_share[-1]  # type: ignore[operator]
