"""One small frozen config per stage. Every default is written here and nowhere else; unknown keys are refused."""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from latent_memory_plugin.errors import ConfigError
from latent_memory_plugin.frozen import FrozenConfig, Positive, Rate, Share, ordered

RewardScale = Literal["group", "batch", "none"]

NEVER = 1_000_000_000
"""More episodes or uses than there will be."""


class ModelConfig(FrozenConfig):
    """Which language model, and how it is held."""

    name: str | None = None
    """Path or hub id; None or `embedded` is the embedded model, `embedded-hard` that of the hard half of the world."""
    engine: str = "hf"
    """What runs it: the name of an engine."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the weights; auto keeps the checkpoint's own."""
    device: str = "auto"
    """`cuda`, `cuda:1`, `mps`, `cpu`; auto takes the first of these that is there."""
    trust_remote_code: bool = False
    """True runs Python code that comes with the checkpoint: only for checkpoints you trust."""
    template_arguments: dict[str, bool | int | float | str] = Field(default_factory=dict)
    """Variables of the chat template, such as `{"enable_thinking": False}`; one it does not know is refused."""
    generation_config: Literal["honour", "ends"] = "honour"
    """`honour`: what generation_config.json says of single tokens holds for every completion, and what cannot be done
    is refused. `ends`: its end tokens alone are taken."""

    def __hash__(self) -> int:
        return hash(self.model_dump_json())


class SamplingConfig(FrozenConfig):
    """How completions are sampled."""

    temperature: Annotated[float, Field(ge=0.0)] = 1.0
    """Divides the logits; 0 takes the likeliest token each time."""
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Nucleus: the smallest set of tokens whose probability reaches this."""
    max_new_tokens: Positive = 256
    """Upper bound of tokens per completion."""
    stop: tuple[str, ...] = ()
    """A completion ends before the first of these strings."""


class VoteConfig(FrozenConfig):
    """How many rollouts a vote takes, and when it is believed."""

    rollouts: Positive = 8
    """Completions sampled per problem at first; their number is doubled as long as the vote is open."""
    max_rollouts: Positive = 96
    """Completions sampled per problem at most."""
    confidence: Share = 0.98
    """A vote is believed where the probability that its winner leads reaches this; sampling stops there."""
    max_share: Share = 0.95
    """Problems whose winner has a larger share have nothing to teach; they still serve as witnesses."""
    reward: Literal["replace", "join"] = "replace"
    """With an external reward. `replace`: what it accepts is right. `join`: what it rejects loses its vote."""

    @model_validator(mode="after")
    def _rollouts_fit(self) -> Self:
        return ordered(self, "rollouts", "max_rollouts")


class DistilConfig(FrozenConfig):
    """How a candidate Latent is trained."""

    objective: Literal["imitate", "grpo", "imitate_then_grpo"] = "imitate"
    """`imitate`: cross-entropy on the rollouts that agree with the vote. `grpo`: policy gradient. Or both."""
    latent_tokens: Positive = 20
    """Vectors in a Latent, P."""
    steps: Positive = 60
    """Optimiser steps at most."""
    refine_steps: Positive = 8
    """`imitate_then_grpo`: steps of GRPO at most."""
    learning_rate: Rate = 0.05
    """Adam's learning rate."""
    rollouts: Positive = 8
    """`grpo`: fresh completions per problem and step. `imitate`: completions used per problem at most."""
    updates: Positive = 1
    """`grpo`: optimiser steps from one batch of fresh completions."""
    clip: Rate = 0.2
    """`grpo` with several updates: how far a token's probability ratio may leave 1 before its gradient stops."""
    scale_rewards: RewardScale = "group"
    """`grpo`: what a reward's distance from the mean of its group is divided by: the deviation of its `group`, that of
    the whole `batch`, or nothing (`none`)."""
    kl: Annotated[float, Field(ge=0.0)] = 0.0
    """`grpo`: weight of the divergence from the plain model."""
    max_gradient_norm: Rate = 1.0
    """Longer gradients are scaled down to this length."""
    patience: Positive = 15
    """Steps without a better value before training stops early."""
    max_batch_tokens: Positive | None = None
    """Tokens in one forward and backward pass at most; None: what 1 GiB holds, or half of a GPU's free memory."""


class TrialConfig(FrozenConfig):
    """When a candidate may live."""

    required: bool = True
    """False lets every candidate live, without a trial."""
    min_episodes: Positive = 3
    """Near episodes, none of them learnt from, that a trial needs."""
    max_episodes: Positive = 6
    """Near episodes a trial uses at most."""
    answers: Positive = 16
    """Answers sampled with the candidate per episode."""
    confidence: Share = 0.9
    """Confidence with which the agreement with the votes must have risen, and with which harm nearby is seen, at a
    neighbourhood's first attempt; the n-th may err with an n-th of the chance."""
    min_gain: Share = 0.0
    """How much it must have risen at least, at that confidence."""
    probation: bool = True
    """True lets a candidate be read with care until its trial is possible; False lets its episodes wait."""

    @model_validator(mode="after")
    def _episodes_fit(self) -> Self:
        return ordered(self, "min_episodes", "max_episodes")


class LifeConfig(FrozenConfig):
    """When a Latent that lives is taken back."""

    min_uses: Positive = 4
    """Judged answers before its uses are looked at, and again whenever they have doubled."""
    confidence: Share = 0.95
    """Confidence with which its answers must have been worse than the plain model's, at the first look; the n-th look
    may err with an n-th of the chance."""


class RetrieveConfig(FrozenConfig):
    """When a stored Latent applies to a question."""

    threshold: Annotated[float, Field(ge=-1.0, le=1.0)] = 0.75
    """Cosine similarity of the question's key and the Latent's key from which the Latent is used."""
    key: Literal["kv", "input"] = "kv"
    """What a key is made of: `kv`, the model's own activations on the question; `input`, the embedding of its text."""


class RouteConfig(FrozenConfig):
    """What becomes of the answer with a Latent (arXiv 2606.17803)."""

    mode: Literal["always", "threshold", "agree"] = "threshold"
    """`always`: the nearest Latent is read, however far. `threshold`: it is read where it is near enough. `agree`: near
    enough, and answered with and without it; where the two differ, the verifier decides."""
    verifier: Literal["likelihood", "vote"] = "likelihood"
    """`likelihood`: the answer with the higher mean log-probability under the plain model. `vote`: the answer that
    more of `verifier_rollouts` fresh completions of the plain model give. A callable passed to `LatentMemory` as
    `verifier` takes its place."""
    verifier_rollouts: Positive = 8
    """Completions of the verifier `vote`."""


class NeighbourConfig(FrozenConfig):
    """Which episodes are learnt from together."""

    threshold: Annotated[float, Field(ge=-1.0, le=1.0)] = 0.75
    """Cosine similarity of two episodes' keys from which they are near."""
    min_parents: Positive = 3
    """Episodes one Latent is learnt from at least."""
    max_parents: Positive = 6
    """Episodes one Latent is learnt from at most."""
    growth: Annotated[float, Field(gt=1.0)] = 1.5
    """A neighbourhood with a live Latent learns anew when it has this many times the episodes of its last attempt."""

    @model_validator(mode="after")
    def _parents_fit(self) -> Self:
        return ordered(self, "min_parents", "max_parents")


class WorkerConfig(FrozenConfig):
    """How the background worker goes about its queue."""

    queue: Positive = 1000
    """Episodes that wait for the worker at most."""
    full: Literal["leave", "wait"] = "leave"
    """With a full queue, `observe(when="background")` may `leave` the episode to `consolidate()`, or `wait`."""
    attempts: Positive = 3
    """How often an episode that breaks off is tried before it is marked as failed."""
    backoff: Rate = 1.0
    """Seconds before the second attempt; doubled before each further one."""


class StoreConfig(FrozenConfig):
    """What is kept, and how much of it."""

    keep_text: bool = True
    """False writes no question and no completion to the disk, only each question's SHA-256; texts stay in memory."""
    max_latents: Positive | None = None
    """Latents a namespace holds at most; None is any number."""
    max_bytes: Positive | None = None
    """Bytes its Latent files take at most."""
    max_age_days: Rate | None = None
    """Days since a Latent was stored here, learnt or imported, or last read, at most."""


class Config(FrozenConfig):
    """All settings of a `LatentMemory`."""

    model: ModelConfig = ModelConfig()
    sampling: SamplingConfig = SamplingConfig()
    vote: VoteConfig = VoteConfig()
    distil: DistilConfig = DistilConfig()
    trial: TrialConfig = TrialConfig()
    life: LifeConfig = LifeConfig()
    retrieve: RetrieveConfig = RetrieveConfig()
    route: RouteConfig = RouteConfig()
    neighbours: NeighbourConfig = NeighbourConfig()
    worker: WorkerConfig = WorkerConfig()
    store: StoreConfig = StoreConfig()
    seed: int = 0
    """Seed of all that learning samples: the same episodes in the same order give the same Latents."""

    @classmethod
    def preset(cls, name: Literal["default", "paper"]) -> Self:
        """`default`: what measures best on the tuning families. `paper`: the known settings of arXiv 2606.17803:
        20 tokens, 8 rollouts, 10 GRPO steps, one problem per Latent, every vote believed, no trial, no second
        version and no taking back."""
        if name == "default":
            return cls()
        if name == "paper":
            return cls(
                vote=VoteConfig(rollouts=8, max_rollouts=8, confidence=0.0),
                trial=TrialConfig(required=False),
                life=LifeConfig(min_uses=NEVER),
                distil=DistilConfig(objective="grpo", latent_tokens=20, steps=10, rollouts=8),
                neighbours=NeighbourConfig(min_parents=1, max_parents=1, growth=NEVER),
            )
        raise ConfigError(f"There is no preset {name!r}; choose 'default' or 'paper'.")
