"""N-DMoE: a Transformer for translation whose first encoder and decoder feed-forward are mixtures of experts."""

import math
from typing import Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from moist.errors import InputError
from moist.frozen import Frozen
from moist.mode.gates import DenseGate, SparseGate, check_top_k
from moist.mode.mixture import MixtureOfExperts, MixtureOutput
from moist.mode.translation_corpus import BEGIN, END, PAD, UNKNOWN


class TranslatorSpec(Frozen):
    """Which network: pre-norm, ReLU, sinusoids for positions, the target embedding tied to the output."""

    gate: Literal["single", "dense", "sparse"] = "single"
    experts: int = Field(default=1, ge=1, le=1024)
    top_k: int = Field(default=1, ge=1)
    width: int = Field(default=256, ge=2, le=8192)
    feed_forward: int = Field(default=1024, ge=1, le=65_536)
    heads: int = Field(default=4, ge=1)
    layers: int = Field(default=2, ge=1, le=100)
    dropout: float = Field(default=0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_top_k(self.top_k, self.experts)
        if self.width % (2 * self.heads):
            raise InputError(
                f"width is {self.width}: it must be a multiple of twice the number of heads, {self.heads}."
            )
        return self


class Attention(nn.Module):
    """Multi-head attention; keys and values can be made once and used for many queries."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values, float (B, heads, T, width / heads) each, of x, float (B, T, width)."""
        key, value = self.key_value(x).chunk(2, dim=-1)
        return self._split(key), self._split(value)

    def forward(
        self, x: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """Attend from x, float (B, T, width); `mask`: bool, True where a key may be seen, (B, 1, 1 or T, S)."""
        mixed = F.scaled_dot_product_attention(self._split(self.query(x)), key, value, attn_mask=mask, is_causal=causal)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], self.heads, -1).transpose(1, 2)


class FeedForward(nn.Module):
    """Linear, ReLU, linear, or a mixture of these; a mixture sees tokens, never filling."""

    def __init__(self, spec: TranslatorSpec, mixed: bool) -> None:
        super().__init__()

        def one() -> nn.Sequential:
            return nn.Sequential(
                nn.Linear(spec.width, spec.feed_forward), nn.ReLU(), nn.Linear(spec.feed_forward, spec.width)
            )

        self.mixed = mixed and spec.gate != "single"
        if self.mixed:
            experts = [one() for _ in range(spec.experts)]
            dense = spec.gate == "dense"
            gate = DenseGate(spec.width, spec.experts) if dense else SparseGate(spec.width, spec.experts, spec.top_k)
            self.layer: nn.Module = MixtureOfExperts(experts, gate)
        else:
            self.layer = one()

    def forward(self, x: Tensor, tokens: Tensor) -> tuple[Tensor, MixtureOutput | None]:
        """x: float (B, T, width); `tokens`: bool (B, T), False for filling, where a mixture gives 0."""
        if not self.mixed:
            return self.layer(x), None
        output: MixtureOutput = self.layer(x[tokens])
        return torch.zeros_like(x).masked_scatter(tokens.unsqueeze(-1), output.output.to(x.dtype)), output


class EncoderBlock(nn.Module):
    def __init__(self, spec: TranslatorSpec, mixed: bool) -> None:
        super().__init__()
        self.attention = Attention(spec.width, spec.heads)
        self.feed_forward = FeedForward(spec, mixed)
        self.norms = nn.ModuleList(nn.LayerNorm(spec.width) for _ in range(2))
        self.dropout = nn.Dropout(spec.dropout)

    def forward(self, x: Tensor, tokens: Tensor) -> tuple[Tensor, MixtureOutput | None]:
        normed = self.norms[0](x)
        x = x + self.dropout(self.attention(normed, *self.attention.keys_values(normed), mask=tokens[:, None, None, :]))
        fed, output = self.feed_forward(self.norms[1](x), tokens)
        return x + self.dropout(fed), output


class Cache(NamedTuple):
    """What a decoder block keeps between steps: keys and values of its own past, and of the source."""

    key: Tensor
    """float (B, heads, T, width / heads)"""
    value: Tensor
    source_key: Tensor
    source_value: Tensor


class DecoderBlock(nn.Module):
    def __init__(self, spec: TranslatorSpec, mixed: bool) -> None:
        super().__init__()
        self.attention = Attention(spec.width, spec.heads)
        self.source_attention = Attention(spec.width, spec.heads)
        self.feed_forward = FeedForward(spec, mixed)
        self.norms = nn.ModuleList(nn.LayerNorm(spec.width) for _ in range(3))
        self.dropout = nn.Dropout(spec.dropout)

    def forward(
        self, x: Tensor, tokens: Tensor, memory: Tensor | None, seen: Tensor, cache: Cache | None = None
    ) -> tuple[Tensor, MixtureOutput | None, Cache]:
        """All positions at once from `memory`, or with a cache the next position alone."""
        normed = self.norms[0](x)
        key, value = self.attention.keys_values(normed)
        if cache is not None:
            key, value = torch.cat([cache.key, key], dim=2), torch.cat([cache.value, value], dim=2)
            source = cache.source_key, cache.source_value
        else:
            source = self.source_attention.keys_values(memory)  # type: ignore[arg-type]
        # Filling lies behind all tokens, so that causality alone hides it from them.
        x = x + self.dropout(self.attention(normed, key, value, causal=cache is None))
        x = x + self.dropout(self.source_attention(self.norms[1](x), *source, mask=seen[:, None, None, :]))
        fed, output = self.feed_forward(self.norms[2](x), tokens)
        return x + self.dropout(fed), output, Cache(key, value, *source)


class Translator(nn.Module):
    """The network. Logits are over `scored`, the pieces that occur in target sentences: no other can be right."""

    scored: Tensor

    def __init__(self, spec: TranslatorSpec, vocabulary: int, scored: Tensor) -> None:
        """`scored`: int64 (V,), which of the `vocabulary` pieces get a logit; drawn from the global random state."""
        super().__init__()
        self.spec, self.vocabulary = spec, vocabulary
        self.source_embedding = nn.Embedding(vocabulary, spec.width, padding_idx=PAD)
        self.target_embedding = nn.Embedding(vocabulary, spec.width, padding_idx=PAD)
        self.encoder = nn.ModuleList(EncoderBlock(spec, mixed=i == 0) for i in range(spec.layers))
        self.decoder = nn.ModuleList(DecoderBlock(spec, mixed=i == 0) for i in range(spec.layers))
        self.norms = nn.ModuleList(nn.LayerNorm(spec.width) for _ in range(2))
        self.dropout = nn.Dropout(spec.dropout)
        self.register_buffer("scored", scored)
        for name, parameter in self.named_parameters():
            if "embedding" in name:
                nn.init.normal_(parameter, std=spec.width**-0.5)
            elif parameter.ndim > 1 and "gate" not in name:
                nn.init.xavier_uniform_(parameter)

    def encode(self, source: Tensor) -> tuple[Tensor, Tensor, list[MixtureOutput]]:
        """Read source, int64 (B, S): memory float (B, S, width), its tokens bool (B, S), and what a mixture gave."""
        tokens = source != PAD
        x, outputs = self._embedded(self.source_embedding, source, 0), []
        for block in self.encoder:
            x, output = block(x, tokens)
            outputs += [] if output is None else [output]
        return self.norms[0](x), tokens, outputs

    def decode(self, target: Tensor, memory: Tensor, seen: Tensor) -> tuple[Tensor, list[MixtureOutput], list[Cache]]:
        """States float (B, T, width) after each piece of target, int64 (B, T), that are to tell the next.

        Nothing follows an END, so there it counts as filling.
        """
        tokens = (target != PAD) & (target != END)
        x, outputs, caches = self._embedded(self.target_embedding, target, 0), [], []
        for block in self.decoder:
            x, output, cache = block(x, tokens, memory, seen)
            outputs += [] if output is None else [output]
            caches.append(cache)
        return self.norms[1](x), outputs, caches

    def decode_next(self, piece: Tensor, seen: Tensor, caches: list[Cache]) -> tuple[Tensor, list[Cache]]:
        """The state (B, width) after one more piece, int64 (B,), behind those that the caches hold."""
        x, grown = self._embedded(self.target_embedding, piece.unsqueeze(1), caches[0].key.shape[2]), []
        every = torch.ones_like(piece, dtype=torch.bool).unsqueeze(1)
        for block, cache in zip(self.decoder, caches, strict=True):
            x, _, cache = block(x, every, None, seen, cache)
            grown.append(cache)
        return self.norms[1](x)[:, 0], grown

    def logits(self, states: Tensor) -> Tensor:
        """float (..., V): the scores of the pieces in `scored`."""
        return F.linear(states, self.target_embedding.weight[self.scored])

    def forward(self, source: Tensor, target: Tensor) -> tuple[Tensor, list[MixtureOutput]]:
        """States (B, T, width) for target (B, T), given source (B, S); and the mixtures' outputs, a row a token."""
        memory, seen, read = self.encode(source)
        states, written, _ = self.decode(target, memory, seen)
        return states, read + written

    def _embedded(self, embedding: nn.Module, pieces: Tensor, first: int) -> Tensor:
        width = self.spec.width
        x = embedding(pieces) * math.sqrt(width)
        embedded: Tensor = self.dropout(x + positions(first, pieces.shape[1], width, x.device).to(x.dtype))
        return embedded


def positions(first: int, count: int, width: int, device: torch.device) -> Tensor:
    """Sinusoids float (count, width) of positions from `first` (Vaswani et al. 2017, section 3.5)."""
    rate = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10_000) / width))
    angle = torch.arange(first, first + count, device=device).unsqueeze(1) * rate
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def scored_pieces(target: list[list[int]], end: int) -> Tensor:
    """int64 (V,), ascending: the pieces of target sentences, and the end; never filling, begin or unknown."""
    found = {piece for sentence in target for piece in sentence} | {end}
    return torch.tensor(sorted(found - {PAD, BEGIN, UNKNOWN}))
