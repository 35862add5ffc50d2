"""Translating: beam search over a batch of sentences, with the keys and values of earlier steps kept."""

from typing import NamedTuple

import torch

from moist.errors import InputError
from moist.mode.translation_corpus import BEGIN, END, Pieces, Tokenizer, filled
from moist.mode.translation_model import Cache, Translator

EXTRA_PIECES = 50
"""A translation has at most so many pieces more than its source (Vaswani et al. 2017, section 6.1)."""


class Hypothesis(NamedTuple):
    """A finished translation and its score: log-probability over ((5 + length) / 6) ** length_penalty."""

    score: float
    pieces: Pieces


def translate(
    model: Translator,
    tokenizer: Tokenizer,
    texts: list[str],
    beam: int = 4,
    length_penalty: float = 0.6,
    batch_tokens: int = 2048,
) -> list[str]:
    """Translate sentences; sentences of like length are searched together, and come back in the order given."""
    sources = tokenizer.encode(texts)
    order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
    found: list[Pieces] = [[] for _ in sources]
    start = 0
    while start < len(order):
        end = start + 1
        while end < len(order) and (end + 1 - start) * (len(sources[order[end]]) + 1) * beam <= batch_tokens:
            end += 1
        chosen = order[start:end]
        for index, pieces in zip(
            chosen, search(model, [sources[i] for i in chosen], beam, length_penalty), strict=True
        ):
            found[index] = pieces
        start = end
    return tokenizer.decode(found)


@torch.no_grad()
def search(model: Translator, sources: list[Pieces], beam: int = 4, length_penalty: float = 0.6) -> list[Pieces]:
    """The best translation of each sentence, without begin and end, by a model in eval mode; greedy with `beam` 1.

    A sentence is done once `beam` hypotheses have ended within its beam; the best by length-normalised score wins
    (Wu et al. 2016, equation 14, without coverage). At the longest length the best that goes on is taken too.

    Raises InputError for a beam below 1.
    """
    if beam < 1:
        raise InputError(f"beam is {beam}: give 1 or more.")
    device = model.scored.device
    source = filled([[*pieces, END] for pieces in sources]).to(device)
    memory, seen, _ = model.encode(source)
    first = torch.full((len(sources), 1), BEGIN, device=device)
    states, _, caches = model.decode(first, memory, seen)
    longest = [len(pieces) + EXTRA_PIECES for pieces in sources]

    ended: list[list[Hypothesis]] = [[] for _ in sources]
    going = list(range(len(sources)))  # sentences whose search goes on
    scores = torch.zeros(len(sources), 1, device=device)
    written: list[list[Pieces]] = [[[]] for _ in sources]  # of each sentence that goes on, its beam
    state, step = states[:, 0], 0
    width = 1  # hypotheses a sentence: one at first, then `beam`
    while going:
        step += 1
        log_probabilities = model.logits(state).float().log_softmax(dim=-1).view(len(going), width, -1)
        candidates = (scores.unsqueeze(2) + log_probabilities).flatten(1)
        # Twice as many, so that a full beam goes on even if all of the best ended.
        top = candidates.topk(min(2 * beam, candidates.shape[1]), dim=1)
        parents = (top.indices // len(model.scored)).tolist()
        pieces = model.scored[top.indices % len(model.scored)].tolist()
        values = top.values.tolist()
        norm = ((5 + step) / 6) ** length_penalty
        keep: list[tuple[int, int, int, float]] = []  # row in the old beam, parent, piece, score
        still, texts = [], []
        for row, sentence in enumerate(going):
            grown = []
            for rank, (parent, piece, value) in enumerate(zip(parents[row], pieces[row], values[row], strict=True)):
                if piece != END:
                    grown.append((row * width + parent, parent, piece, value))
                elif rank < beam:
                    ended[sentence].append(Hypothesis(value / norm, written[row][parent]))
            grown = grown[:beam]
            full = len(ended[sentence]) >= beam
            if not full and step < longest[sentence] and grown:
                grown += [(*grown[-1][:3], float("-inf"))] * (beam - len(grown))
                keep += grown
                still.append(sentence)
                texts.append([[*written[row][parent], piece] for _, parent, piece, _ in grown])
            elif not full:
                ended[sentence] += [
                    Hypothesis(value / norm, [*written[row][parent], piece]) for _, parent, piece, value in grown
                ]
        going, written = still, texts
        if not going:
            break
        width = beam
        rows = torch.tensor([row for row, *_ in keep], device=device)
        scores = torch.tensor([value for *_, value in keep], device=device).view(-1, beam)
        caches = [Cache(*(tensor[rows] for tensor in cache)) for cache in caches]
        seen = seen[rows]
        state, caches = model.decode_next(torch.tensor([piece for _, _, piece, _ in keep], device=device), seen, caches)
    return [max(hypotheses, key=lambda hypothesis: hypothesis.score).pieces for hypotheses in ended]
