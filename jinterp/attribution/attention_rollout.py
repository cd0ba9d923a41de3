"""Attention maps of transformers, and their product over the layers."""

import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from jinterp import _check
from jinterp._question import ask, first_output
from jinterp._types import ApplyFn, EitherArray, Inputs, Params, Score, Target
from jinterp.model import logit
from jinterp.model.attention import attention_probabilities
from jinterp.stream.rows import map_rows

Attention = Float[Array, "batch heads queries keys"]


def attention_maps(apply_fn: ApplyFn, params: Params, x: Inputs) -> dict[str, Attention]:
    """The attention probabilities of every attention layer.

    They are found in the traced program, each softmax that a matrix product then reads, so that
    the model need not sow them; a fused kernel never holds them.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, `[batch, ...]`.

    Returns:
        By layer name, in the order of the layers, `[batch, heads, queries, keys]`; rows sum to 1.

    Raises:
        ValueError: the model computes none.

    >>> import jax, jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     scores = jnp.einsum("bqhd,bkhd->bhqk", x, x)
    ...     mixed = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), x)
    ...     return mixed.mean(axis=(1, 2)) @ params
    >>> maps = attention_maps(apply_fn, jnp.eye(2), jnp.zeros((1, 4, 1, 2)))
    >>> maps["attention"].shape
    (1, 1, 4, 4)
    """
    question = ask(apply_fn, params, x, None, first_output, differentiable=False)
    return map_rows(_maps, apply_fn, params, question.x)


def _maps(apply_fn: Any, params: Params, x: Inputs, point: None) -> dict[str, Attention]:
    return attention_probabilities(apply_fn, params, x)


def rollout(attentions: Sequence[EitherArray]) -> Float[Array, "batch queries keys"]:
    """The product of a transformer's attention over its layers, Π rownorm((A + I)/2).

    Heads are averaged, and I stands for the residual connection.

    Args:
        attentions: from the first layer to the last, `[batch, heads, tokens, tokens]`: what
            `attention_maps` found, or what a model sowed.

    Returns:
        `[batch, queries, keys]`: how much of each input token (key) is mixed into each output
        token (query); rows sum to 1.

    Raises:
        ValueError: there is none, or one is not square.

    >>> import jax.numpy as jnp
    >>> rollout([jnp.full((1, 1, 2, 2), 0.5)])[0].tolist()
    [[0.75, 0.25], [0.25, 0.75]]

    Source: Abnar and Zuidema 2020, section 3.
    """
    if not attentions:
        raise ValueError("`attentions` is empty; expected one array a layer.")
    return functools.reduce(lambda product, mixed: mixed @ product, map(_mixed, attentions))


def _mixed(attention: EitherArray) -> Array:
    """(A + I)/2 with rows that sum to 1, heads averaged."""
    attention = jnp.asarray(attention)
    if attention.ndim != 4 or attention.shape[2] != attention.shape[3]:
        raise ValueError(
            f"an attention has the shape {attention.shape}; expected [batch, heads, tokens, "
            "tokens], with as many queries as keys: self-attention only."
        )
    mixed = (attention.mean(axis=1) + jnp.eye(attention.shape[2], dtype=attention.dtype)[None]) / 2
    return mixed / mixed.sum(axis=-1, keepdims=True)


def attention_rollout(
    apply_fn: ApplyFn,
    params: Params,
    x: Inputs,
    target: Target = None,
    *,
    score: Score = logit,
    token: int | None = None,
) -> Float[Array, "batch tokens"]:
    """How much of each token attention mixes into the output, over all layers.

    It reads attention alone: neither values nor the layers between, and no class. It shows where a
    transformer may look, not what counts for its answer.

    Args:
        apply_fn: `apply_fn(params, x) -> logits`.
        params: its parameters.
        x: inputs, `[batch, ...]`.
        target: without effect; taken so that explainers can be exchanged.
        score: without effect.
        token: the output token that the model reads, such as 0 for a class token in front; None
            averages over all, as a model does that averages its tokens.

    Returns:
        `[batch, tokens]`, from 0 to 1, each row with the sum 1.

    Raises:
        ValueError: as `attention_maps` and `rollout` do, or there is no such token.

    >>> import jax, jax.numpy as jnp
    >>> def apply_fn(params, x):
    ...     scores = jnp.einsum("bqhd,bkhd->bhqk", x, x)
    ...     mixed = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), x)
    ...     return mixed.mean(axis=(1, 2)) @ params
    >>> attention_rollout(apply_fn, jnp.eye(2), jnp.zeros((1, 2, 1, 2)), token=0).tolist()
    [[0.75, 0.25]]

    Source: Abnar and Zuidema 2020, section 3.
    """
    mixed = rollout(list(attention_maps(apply_fn, params, x).values()))
    if token is None:
        return mixed.mean(axis=1)
    _check.within("token", token, 0, mixed.shape[1] - 1)
    return mixed[:, token]
