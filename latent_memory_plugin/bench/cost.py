"""What a run costs, by arithmetic: bytes and seconds from the sizes of a model and the figures of a device.

Legend: N parameters, H hidden size, L layers, Q and K widths of queries and of keys, F feed-forward width, V
vocabulary, P latent tokens, e bytes of a number (2 for bfloat16). Bytes are those of the tensors; seconds are those of
the model alone, at assumed shares of what the device could do. docs/real-models.md shows the arithmetic.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

from latent_memory_plugin.bench.shapes import Shape
from latent_memory_plugin.config import DistilConfig
from latent_memory_plugin.engines.hf.score import CHUNK_BYTES
from latent_memory_plugin.errors import ConfigError, ModelError

Precision = Literal["float32", "bfloat16", "float16", "4bit"]

ELEMENT_BYTES: dict[Precision, int] = {"float32": 4, "bfloat16": 2, "float16": 2, "4bit": 2}
"""Bytes of a number in embeddings, cache and activations; with 4-bit weights these stay 16-bit numbers."""
FOUR_BIT_BYTES = 0.5 + 4 / 64
"""A 4-bit number, and a float32 scale for every 64 of them (bitsandbytes' NF4)."""
RESERVED_BYTES = 3 * 2**29
"""1.5 GiB for the device's own context and what allocation wastes; assumed."""
COMPUTE_SHARE = 0.4
"""Share of a device's peak arithmetic that long passes reach; assumed."""
BANDWIDTH_SHARE = 0.6
"""Share of its memory bandwidth that decoding reaches; assumed."""
GIB = 2**30


@dataclass(frozen=True)
class Device:
    """What a device can do, by its data sheet."""

    name: str
    """Its name."""
    memory_bytes: float
    """Its memory."""
    bandwidth: float
    """Bytes it reads in a second."""
    flops: float
    """Dense 16-bit matrix operations in a second."""


DEVICES = {
    one.name: one
    for one in (
        Device("rtx-4090", 24 * GIB, 1.008e12, 165e12),
        Device("a100-80gb", 80 * GIB, 2.039e12, 312e12),
        Device("h100-80gb", 80 * GIB, 3.35e12, 989e12),
        Device("h200", 141e9, 4.8e12, 989e12),
    )
}
"""Some devices by name."""


@dataclass(frozen=True)
class Lengths:
    """Tokens of what is read and written."""

    prompt: int = 110
    """Tokens of a prompt with its template and instruction, on average."""
    completion: int = 450
    """Tokens of a completion, on average."""
    longest: int = 3072
    """Tokens of a completion at most: `max_new_tokens`."""

    @property
    def row(self) -> int:
        """Tokens of the longest row: prompt, Latent and completion."""
        return self.prompt + latent_tokens() + self.longest

    @property
    def at_most(self) -> "Lengths":
        """The same with every completion as long as the longest."""
        return Lengths(self.prompt, self.longest, self.longest)


@dataclass(frozen=True)
class Draws:
    """Completions to sample."""

    calls: float
    """How often."""
    rows: int
    """Completions that are sampled together each time."""

    @property
    def completions(self) -> float:
        """All of them."""
        return self.calls * self.rows


@dataclass(frozen=True)
class Scores:
    """Completions to compute log-probabilities of, and the gradient."""

    steps: float
    """How often."""
    rows: int
    """Completions each time."""
    questions: int
    """Distinct questions among them, whose prompts are read once."""

    @property
    def completions(self) -> float:
        """All of them."""
        return self.steps * self.rows


@dataclass(frozen=True)
class Machine:
    """A model of given sizes in a given precision on a device."""

    shape: Shape
    """The model."""
    device: Device
    """Where it runs."""
    precision: Precision = "bfloat16"
    """How its weights are held."""
    copies: int = 1
    """How often they are held: twice where an adapter is trained on a copy."""

    @property
    def weights_bytes(self) -> int:
        """N e; in 4 bits the matrices of the decoder layers alone are smaller. One copy."""
        element, shape = ELEMENT_BYTES[self.precision], self.shape
        if self.precision != "4bit":
            return shape.parameters * element
        rest = shape.parameters - shape.decoder_parameters
        return round(shape.decoder_parameters * FOUR_BIT_BYTES) + rest * element

    @property
    def free_bytes(self) -> float:
        """What the weights leave of the device's memory; negative where they do not fit."""
        return self.device.memory_bytes - RESERVED_BYTES - self.copies * self.weights_bytes

    @property
    def cache_token_bytes(self) -> int:
        """2 L K e: keys and values of one token of one row."""
        return 2 * self.shape.layers * self.shape.key_value * ELEMENT_BYTES[self.precision]

    @property
    def activation_token_bytes(self) -> int:
        """L (8 H + 4 (Q + K) + e (4 Q + 4 K + 3 F)): what autograd keeps of one token for the gradient to a Latent.

        The weights are frozen, so no input of a matrix is kept. Per layer: the inputs of both norms in float32, those
        of norms of queries and keys where there are any, queries, keys, values and result of the attention (keys and
        values repeated to Q) with the copies a shared prompt makes, and three tensors of the feed-forward part.
        """
        one, element = self.shape, ELEMENT_BYTES[self.precision]
        attention = element * (4 * one.query + 4 * one.key_value) + 4 * (one.query + one.key_value)
        return one.layers * (8 * one.hidden + attention + 3 * element * one.intermediate)

    @property
    def logits_token_bytes(self) -> int:
        """V (e + 12): the logits of a token, their float32 copy and two gradients of that."""
        return self.shape.vocabulary * (ELEMENT_BYTES[self.precision] + 12)

    @property
    def pass_token_bytes(self) -> int:
        """A token of a long pass: what autograd keeps, and its state's gradient (e H); of an adapter, its logits."""
        last = self.logits_token_bytes if self.copies > 1 else ELEMENT_BYTES[self.precision] * self.shape.hidden
        return self.activation_token_bytes + last

    def pass_bytes(self, tokens: int) -> int:
        """A forward and backward pass over so many tokens of completions and prompts, beside the weights."""
        return tokens * self.pass_token_bytes + min(tokens, self._logits_tokens) * self.logits_token_bytes

    @property
    def pass_tokens(self) -> int:
        """Tokens that one forward and backward pass can hold; negative where not even the weights fit."""
        short = int(self.free_bytes // (self.pass_token_bytes + self.logits_token_bytes))
        long = (self.free_bytes - self._logits_tokens * self.logits_token_bytes) // self.pass_token_bytes
        return max(int(long), min(short, self._logits_tokens))

    @property
    def _logits_tokens(self) -> int:
        """Tokens whose logits are held, beside those of `pass_token_bytes`."""
        return 0 if self.copies > 1 else max(1, CHUNK_BYTES // (4 * self.shape.vocabulary))

    def rows(self, lengths: Lengths) -> int:
        """Rows that are sampled together: as many as fill half of what the weights leave free, as the sampler does."""
        return max(1, int(self.free_bytes / 2 // (self.cache_token_bytes * lengths.row)))

    def check(self, lengths: Lengths) -> None:
        """Raises ModelError where the weights and a forward and backward pass over one row exceed the memory."""
        weights, learning = self.copies * self.weights_bytes, self.pass_bytes(lengths.row)
        needed, there = weights + learning + RESERVED_BYTES, self.device.memory_bytes
        if needed > there:
            raise ModelError(
                f"{self.shape.name!r} in {self.precision} needs about {needed / GIB:.1f} GiB (weights "
                f"{weights / GIB:.1f} GiB in {self.copies} copies, learning from a row of {lengths.row:,} tokens "
                f"{learning / GIB:.1f} GiB), and {self.device.name!r} has {there / GIB:.1f} GiB. Take a smaller model, "
                "fewer new tokens, methods without LoRA, or a larger device."
            )

    def sampling_seconds(self, draws: Draws, lengths: Lengths) -> float:
        """The slower of reading and computing.

        Reading: N e, once for every token of the longest row of a batch (4-bit weights are unpacked to 16 bits, so
        that they save no time), and each row's cache, half full on average, for every token it writes. Computing: 2 N
        for every token read or written.
        """
        batches = draws.calls * ceil(draws.rows / self.rows(lengths))
        mean_cache = (lengths.prompt + lengths.completion / 2) * self.cache_token_bytes
        written = draws.completions * lengths.completion
        weights = self.shape.parameters * ELEMENT_BYTES[self.precision]
        read = batches * lengths.longest * weights + written * mean_cache
        computed = 2 * self.shape.parameters * (written + draws.completions * lengths.prompt)
        return max(read / (self.device.bandwidth * BANDWIDTH_SHARE), self._computing(computed))

    def scoring_seconds(self, scores: Scores, lengths: Lengths) -> float:
        """4 N for every token of completions, prompts and Latents: forward, and backward to the activations alone."""
        prompts = scores.steps * scores.questions * (lengths.prompt + latent_tokens())
        return self._computing(4 * self.shape.parameters * (scores.completions * lengths.completion + prompts))

    def _computing(self, operations: float) -> float:
        return operations / (self.device.flops * COMPUTE_SHARE)

    def seconds(self, draws: Sequence[Draws], scores: Sequence[Scores], lengths: Lengths) -> float:
        """Of all of it, one after the other."""
        sampling = sum(self.sampling_seconds(one, lengths) for one in draws)
        return sampling + sum(self.scoring_seconds(one, lengths) for one in scores)


def device_of(text: str) -> Device:
    """A device by name, or by its figures as `GIB:GB/S:TFLOPS`. Raises ConfigError."""
    if text in DEVICES:
        return DEVICES[text]
    try:
        memory, bandwidth, flops = (float(part) for part in text.split(":"))
    except ValueError as exc:
        raise ConfigError(
            f"The device {text!r} is none of {', '.join(map(repr, DEVICES))} and no three figures; write memory in "
            "GiB, bandwidth in GB/s and 16-bit TFLOPS as in 48:864:91."
        ) from exc
    return Device(text, memory * GIB, bandwidth * 1e9, flops * 1e12)


def latent_tokens() -> int:
    """P, the vectors of a Latent by default."""
    return DistilConfig().latent_tokens


def latent_bytes(shape: Shape) -> int:
    """4 P H: a Latent in float32; its gradient and Adam's two moments are three times as much again."""
    return 4 * latent_tokens() * shape.hidden
