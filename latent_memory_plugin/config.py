"""One small frozen config per stage. Every default is written here and nowhere else; unknown keys are refused."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import Field, SerializeAsAny, field_validator, model_validator
from typing_extensions import Self

from latent_memory_plugin.errors import ConfigError
from latent_memory_plugin.frozen import FrozenConfig, Positive, Rate, Share, ordered
from latent_memory_plugin.plugins import ENGINES, EXECUTORS, FORMS, KEYS, OBJECTIVES

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
    device_map: str | dict[str, int | str] | None = None
    """In place of `device`, layers on several devices as transformers spreads them: `auto`, `balanced`, or a module's
    name → its device."""
    max_memory: dict[int | str, int | str] | None = None
    """With a `device_map` that transformers makes: device → bytes or `"20GiB"` that weights may take there."""
    attn_implementation: str | None = None
    """`sdpa`, `eager`, `flash_attention_2`; None is transformers' choice."""
    quantization_config: dict[str, Any] | None = None
    """How transformers quantises the weights while it loads them: `{"load_in_4bit": True}`, or one of its own config
    objects, of which this is the dictionary."""
    trust_remote_code: bool = False
    """True runs Python code that comes with the checkpoint: only for checkpoints you trust."""
    template_arguments: dict[str, bool | int | float | str] = Field(default_factory=dict)
    """Variables of the chat template, such as `{"enable_thinking": False}`; one it does not know is refused."""
    generation_config: Literal["honour", "ends"] = "honour"
    """`honour`: what generation_config.json says of single tokens holds for every completion, and what cannot be done
    is refused. `ends`: its end tokens alone are taken."""

    @field_validator("engine")
    @classmethod
    def _is_engine(cls, name: str) -> str:
        return ENGINES.check(name)

    @field_validator("quantization_config", mode="before")
    @classmethod
    def _as_json(cls, given: Any) -> Any:
        try:
            named = given.to_dict() if hasattr(given, "to_dict") else given
            return json.loads(json.dumps(named, default=lambda one: str(one).removeprefix("torch.")))
        except TypeError as exc:
            raise ConfigError(f"quantization_config={given!r:.120} cannot be stored as JSON ({exc}).") from exc

    @field_validator("max_memory")
    @classmethod
    def _numbers_are_devices(cls, given: dict[int | str, int | str] | None) -> dict[int | str, int | str] | None:
        """JSON has texts for keys alone."""
        return given and {int(one) if str(one).isdecimal() else one: most for one, most in given.items()}

    @model_validator(mode="after")
    def _one_way_to_devices(self) -> Self:
        if self.device_map is not None and self.device != "auto":
            raise ConfigError(f"device={self.device!r} and device_map={self.device_map!r:.80} exclude one another.")
        if self.max_memory is not None and self.device_map is None:
            raise ConfigError(f"max_memory={self.max_memory!r:.80} bounds a device_map; set device_map='auto', too.")
        return self

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


class ObjectiveConfig(FrozenConfig):
    """How a candidate is trained; one class for each objective, told apart by `kind`."""

    kind: str
    """Name of the objective."""


class ImitateConfig(ObjectiveConfig):
    """Cross-entropy on the rollouts that agree with the vote."""

    kind: Literal["imitate"] = "imitate"  # pyright: ignore[reportIncompatibleVariableOverride]
    rollouts: Positive = 8
    """Distinct completions used per problem at most."""


class GrpoConfig(ObjectiveConfig):
    """Policy gradient on fresh completions, rewarded by agreement with the vote."""

    kind: Literal["grpo"] = "grpo"  # pyright: ignore[reportIncompatibleVariableOverride]
    rollouts: Positive = 8
    """Fresh completions per problem and step."""
    updates: Positive = 1
    """Optimiser steps from one batch of fresh completions."""
    clip: Rate = 0.2
    """With several updates: how far a token's probability ratio may leave 1 before its gradient stops."""
    scale_rewards: RewardScale = "group"
    """What a reward's distance from the mean of its group is divided by: the deviation of its `group`, that of the
    whole `batch`, or nothing (`none`)."""
    kl: Annotated[float, Field(ge=0.0)] = 0.0
    """Weight of the divergence from the plain model."""


class ImitateThenGrpoConfig(GrpoConfig):
    """Imitation, then some steps of policy gradient from where it ended."""

    kind: Literal["imitate_then_grpo"] = "imitate_then_grpo"  # pyright: ignore[reportIncompatibleVariableOverride]
    refine_steps: Positive = 8
    """Steps of GRPO at most."""


OBJECTIVE_CONFIGS: dict[str, type[ObjectiveConfig]] = {
    "imitate": ImitateConfig,
    "grpo": GrpoConfig,
    "imitate_then_grpo": ImitateThenGrpoConfig,
}
"""Of the objectives in this package; a plug-in brings its own."""


class DistilConfig(FrozenConfig):
    """How a candidate Latent is trained."""

    objective: SerializeAsAny[ObjectiveConfig] = ImitateConfig()
    """What is minimised: a name (`imitate`, `grpo`, `imitate_then_grpo` or a plug-in's), or the objective's config. A
    setting of the objective may stand beside its name: `DistilConfig(objective="grpo", kl=0.1)`."""
    latent_tokens: Positive = 20
    """Vectors in a Latent, P."""
    steps: Positive = 60
    """Optimiser steps at most."""
    learning_rate: Rate = 0.05
    """Adam's learning rate."""
    max_gradient_norm: Rate = 1.0
    """Longer gradients are scaled down to this length."""
    patience: Positive = 15
    """Steps without a better value before training stops early."""
    max_batch_tokens: Positive | None = None
    """Tokens in one forward and backward pass at most; None: what 1 GiB holds, or half of a GPU's free memory."""

    @model_validator(mode="before")
    @classmethod
    def _objective_of_its_name(cls, given: Any) -> Any:
        """The objective's config from a name, from a mapping, and from settings that stand beside it."""
        if not isinstance(given, Mapping):
            return given
        fields = dict(cast("Mapping[str, Any]", given))
        objective: Any = fields.get("objective", "imitate")
        if isinstance(objective, Mapping):
            own = dict(cast("Mapping[str, Any]", objective))
        else:
            own = {"kind": objective} if isinstance(objective, str) else {}
        if own:
            kind = _objective_config(own.get("kind"))
            beside = (fields.keys() - cls.model_fields.keys()) & kind.model_fields.keys()
            objective = kind(**own, **{name: fields.pop(name) for name in beside})
        # Saved when the settings of all objectives stood here: what was left as it is by default says nothing.
        unset = {
            name for one in OBJECTIVE_CONFIGS.values() for name in one.model_fields if _is_default(one, name, fields)
        }
        kept: dict[str, Any] = {name: value for name, value in fields.items() if name not in unset}
        kept["objective"] = objective
        return kept


def _is_default(config: type[ObjectiveConfig], name: str, fields: Mapping[str, Any]) -> bool:
    return name in fields and fields[name] == config.model_fields[name].default


def _objective_config(kind: Any) -> type[ObjectiveConfig]:
    if kind in OBJECTIVE_CONFIGS:
        return OBJECTIVE_CONFIGS[kind]
    return OBJECTIVES.get(kind).config


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
    key: str = "kv"
    """What a key is made of, by name: `kv`, the model's own activations on the question; `input`, the embedding of its
    text; or a kind that was registered."""

    @field_validator("key")
    @classmethod
    def _key_is_known(cls, name: str) -> str:
        return KEYS.check(name)


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

    executor: str = "thread"
    """Where learning runs: `thread`, beside whoever asks; `process`, in a process with a model of its own, for machines
    with memory to spare; or a plug-in's name."""
    learners: Positive = 1
    """Threads of this process that learn in the background at the same time, of all namespaces together: the largest
    number that an open memory asks for."""
    queue: Positive = 1000
    """Episodes of a namespace that wait for the worker at most."""
    full: Literal["leave", "wait"] = "leave"
    """With a full queue, `observe(when="background")` may `leave` the episode to `consolidate()`, or `wait`."""
    attempts: Positive = 3
    """How often an episode that breaks off is tried before it is marked as failed."""
    backoff: Rate = 1.0
    """Seconds before the second attempt; doubled before each further one."""

    @field_validator("executor")
    @classmethod
    def _is_executor(cls, name: str) -> str:
        return EXECUTORS.check(name)


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
    form: str = "soft_prompt"
    """What is learnt: the name of a form."""
    seed: int = 0
    """Seed of all that learning samples: the same episodes in the same order give the same Latents."""

    @field_validator("form")
    @classmethod
    def _is_form(cls, name: str) -> str:
        return FORMS.check(name)

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
                distil=DistilConfig(objective=GrpoConfig(rollouts=8), latent_tokens=20, steps=10),
                neighbours=NeighbourConfig(min_parents=1, max_parents=1, growth=NEVER),
            )
        raise ConfigError(f"There is no preset {name!r}; choose 'default' or 'paper'.")
