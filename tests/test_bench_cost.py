"""What a run is said to cost: sizes against real modules, bytes against real tensors, counts against a real run."""

import json
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from answering_model import saved_answering_model
from tiny_models import tiny_model, tiny_tokenizer

from latent_memory_plugin.bench.cost import DEVICES, GIB, Device, Draws, Lengths, Machine, Scores, device_of
from latent_memory_plugin.bench.online import roster
from latent_memory_plugin.bench.online.asking import Asking
from latent_memory_plugin.bench.online.ceiling import ON_THE_EMBEDDED_WORLD, Ceiling, Work
from latent_memory_plugin.bench.online.expense import Expense
from latent_memory_plugin.bench.online.meter import Metered
from latent_memory_plugin.bench.online.plan import Plan, Steps
from latent_memory_plugin.bench.online.run import weights
from latent_memory_plugin.bench.online.stream import open_stream
from latent_memory_plugin.bench.online.stretch import Stretch
from latent_memory_plugin.bench.shapes import PUBLISHED, Shape, measure, shape_of
from latent_memory_plugin.config import ModelConfig, SamplingConfig
from latent_memory_plugin.engines.hf import LanguageModel
from latent_memory_plugin.errors import ConfigError, ModelError, ModelLoadError

REPOSITORY = Path(__file__).parents[1]
DATA = REPOSITORY.parent / "shared" / "data"
BILLIONS = {
    "Qwen/Qwen2.5-0.5B-Instruct": 0.494,
    "Qwen/Qwen3-1.7B": 1.721,
    "Qwen/Qwen2.5-Math-7B": 7.616,
    "meta-llama/Llama-3.1-8B-Instruct": 8.030,
    "Qwen/Qwen3-14B": 14.768,
    "Qwen/Qwen3-32B": 32.762,
    "meta-llama/Llama-3.1-70B-Instruct": 70.554,
}
"""Parameters as the checkpoints have them."""
LARGE = Device("large", 1e15, 1e12, 1e14)


def machine(model: Any, precision: Any = "float32") -> Machine:
    return Machine(measure("tiny", model.config), LARGE, precision)


# -- sizes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_model_has_as_many_parameters_as_its_checkpoint(name: str) -> None:
    assert shape_of(name).parameters / 1e9 == pytest.approx(BILLIONS[name], abs=5e-4)


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gpt2", "mistral"])
def test_sizes_from_a_config_are_those_of_the_model_that_is_built(architecture: str, tmp_path: Path) -> None:
    model: Any = tiny_model(architecture)
    model.config.save_pretrained(tmp_path)
    shape = shape_of(str(tmp_path))
    assert shape.parameters == sum(weight.numel() for weight in model.parameters())
    assert (shape.hidden, shape.layers, shape.vocabulary, shape.query) == (32, 3, 320, 32)
    assert shape.intermediate == (128 if architecture == "gpt2" else 48)
    assert Machine(shape, LARGE, "float32").weights_bytes == sum(weight.nbytes for weight in model.parameters())


def test_a_model_that_nobody_knows_is_refused_by_its_name() -> None:
    with pytest.raises(ModelLoadError, match=r"'nobody/nothing'.*'Qwen/Qwen3-1.7B'.*folder"):
        shape_of("nobody/nothing")


# -- bytes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gpt2"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_cache_takes_exactly_the_bytes_that_are_said(architecture: str, precision: Any) -> None:
    model: Any = tiny_model(architecture, dtype=getattr(torch, precision))
    cache = model(input_ids=torch.ones(5, 17, dtype=torch.long), use_cache=True).past_key_values
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert held == 5 * 17 * machine(model, precision).cache_token_bytes


def test_the_cache_is_reckoned_as_the_sampler_reckons_it() -> None:
    model: Any = tiny_model("qwen3")
    plain = LanguageModel.wrap(model, tiny_tokenizer(), "tiny")
    assert machine(model).cache_token_bytes == plain._budget.cache_token_bytes


@contextmanager
def kept(model: Any) -> Generator[list[int]]:
    """The bytes that autograd keeps for the gradient, each storage once, the weights left out."""
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    alive: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        place = tensor.untyped_storage().data_ptr()
        if tensor.is_floating_point() and place not in weights:
            alive[place] = tensor
        return tensor

    found: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield found
    found.append(sum(tensor.untyped_storage().nbytes() for tensor in alive.values()))


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gpt2"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_decoder_keeps_about_what_is_said_for_the_gradient_to_its_input(architecture: str, precision: Any) -> None:
    model: Any = tiny_model(architecture, dtype=getattr(torch, precision)).requires_grad_(False)
    read = torch.randn(4, 64, 32, dtype=model.dtype, requires_grad=True)
    with kept(model) as found:
        model.base_model(inputs_embeds=read, use_cache=False)
    said = 4 * 64 * machine(model, precision).activation_token_bytes
    assert 0.65 * said <= found[0] <= 1.1 * said, found[0] / said


@pytest.mark.parametrize("shared", [True, False], ids=["one prompt", "many prompts"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_pass_of_learning_keeps_no_more_than_is_said(shared: bool, precision: Any) -> None:
    model: Any = tiny_model("qwen3", dtype=getattr(torch, precision))
    plain = LanguageModel.wrap(model, tiny_tokenizer(), "tiny")
    questions = [f"What is {0 if shared else number}?" for number in range(6)]
    latent = torch.randn(20, 32, requires_grad=True)
    with kept(model) as found:
        plain.log_probabilities(questions, [[7] * 40] * 6, latent)
    prompts = sum(20 + len(plain.prompt_ids(question)) for question in set(questions))
    assert 0 < found[0] <= machine(model, precision).pass_bytes(6 * 40 + prompts)


def test_four_bit_weights_leave_embeddings_and_head_as_they_are() -> None:
    shape = shape_of("meta-llama/Llama-3.1-8B-Instruct")
    whole, small = (Machine(shape, LARGE, one).weights_bytes for one in ("bfloat16", "4bit"))
    outside = 2 * (shape.parameters - shape.decoder_parameters)
    assert outside >= 2 * 2 * shape.vocabulary * shape.hidden
    assert small - outside == pytest.approx((whole - outside) * 0.5625 / 2)


@pytest.mark.parametrize(
    ("stored", "bits"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, 4),
        ({"quant_method": "gptq", "bits": 4}, 4),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, 8),
        (None, 16),
    ],
)
def test_a_checkpoint_that_is_stored_quantised_is_reckoned_so(stored: Any, bits: int, tmp_path: Path) -> None:
    config: Any = tiny_model().config
    config.save_pretrained(tmp_path)
    fields = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(fields | ({"quantization_config": stored} if stored else {})))
    plan = Plan("amc23", methods=("none",), model=ModelConfig(name=str(tmp_path), dtype="bfloat16"))
    machine = Expense(plan, LARGE).machine
    assert machine.shape.bits == bits and machine.precision == ("4bit" if bits == 4 else "bfloat16")


# -- what fits -----------------------------------------------------------------------------------------------------


def test_what_fits_is_accepted_and_one_token_more_is_not() -> None:
    small = Machine(shape_of("Qwen/Qwen3-1.7B"), Device("small", 12 * GIB, 1e12, 1e14))
    room = small.pass_tokens - Lengths().prompt - 20
    small.check(Lengths(longest=room))
    with pytest.raises(ModelError, match=r"'Qwen/Qwen3-1.7B'.* 12\.0 GiB .*'small' has 12\.0 GiB.*smaller model"):
        small.check(Lengths(longest=room + 1))


def test_a_second_copy_of_the_weights_takes_as_much_again() -> None:
    shape = shape_of("meta-llama/Llama-3.1-8B-Instruct")
    once, twice = (Machine(shape, DEVICES["a100-80gb"], copies=copies) for copies in (1, 2))
    assert once.free_bytes - twice.free_bytes == once.weights_bytes


@pytest.mark.parametrize("text", ["abacus", "24:1000", "24:x:10", ""])
def test_a_device_that_is_not_known_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(ConfigError, match="rtx-4090") as refused:
        device_of(text)
    assert repr(text) in str(refused.value)


def test_a_device_may_be_given_by_its_figures() -> None:
    assert device_of("48:864:91") == Device("48:864:91", 48 * GIB, 864e9, 91e12)


# -- seconds -------------------------------------------------------------------------------------------------------


def toy(**changes: int) -> Shape:
    sizes = {"hidden": 10, "layers": 1, "query": 10, "key_value": 10, "intermediate": 10, "vocabulary": 10}
    return Shape(name="toy", parameters=1000, decoder_parameters=900, context_tokens=99, **{**sizes, **changes})


def test_sampling_takes_the_slower_of_reading_and_computing() -> None:
    draws, lengths = Draws(calls=3, rows=4), Lengths(prompt=10, completion=50, longest=100)
    slow_memory = Machine(toy(), Device("x", 1e12, bandwidth=1e3, flops=1e30))
    weights_read, cache_read = 3 * 100 * 2000, 12 * 50 * (10 + 25) * 40
    assert slow_memory.sampling_seconds(draws, lengths) == pytest.approx((weights_read + cache_read) / 600)
    slow_arithmetic = Machine(toy(), Device("x", 1e12, bandwidth=1e30, flops=1e3))
    assert slow_arithmetic.sampling_seconds(draws, lengths) == pytest.approx(2 * 1000 * 12 * (50 + 10) / 400)


def test_training_takes_four_operations_for_each_parameter_and_token() -> None:
    one = Machine(toy(), Device("x", 1e12, bandwidth=1e30, flops=1e3))
    scores = Scores(steps=2, rows=8, questions=3)
    tokens = 16 * 50 + 2 * 3 * (10 + 20)
    assert one.scoring_seconds(scores, Lengths(10, 50, 100)) == pytest.approx(4 * 1000 * tokens / 400)


# -- counts --------------------------------------------------------------------------------------------------------

METHODS = tuple(roster.names(8))
PROBLEMS, SAMPLES, VOTERS, NEW_TOKENS = 12, 2, 8, 6


class Counting(Metered):
    """A metered model that counts completions, too."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.sampled = self.scored = 0

    def sample(self, conversations: Any, latents: Any, n: int, sampling: Any, seed: int) -> Any:
        self.sampled += n * len(conversations)
        return super().sample(conversations, latents, n, sampling, seed)

    def log_probabilities(self, conversations: Any, completions: Any, latent: Any) -> Any:
        self.scored += len(completions) * torch.is_grad_enabled() * (latent is not None)
        return super().log_probabilities(conversations, completions, latent)


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Counting], dict[str, Any]]:
    """Every method along a real run of a small model, with what it asked of it; and their results."""
    folder = tmp_path_factory.mktemp("counted")
    name = str(saved_answering_model(folder / "model"))
    file = folder / "mine.jsonl"
    rows = [{"question": f"How many is {number}?", "answer": "3"} for number in range(PROBLEMS)]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    asking = Asking(SamplingConfig(max_new_tokens=NEW_TOKENS), "Think.")
    told: dict[str, Any] = {"samples": SAMPLES, "voters": VOTERS, "asking": asking, "effects": False}
    told["model"] = ModelConfig(name=name)
    counts: dict[str, Counting] = {}
    found: dict[str, Any] = {}
    for method in ("shared", *METHODS):
        plan = Plan(str(file), methods=(method,) if method != "shared" else (), out=folder / "out", **told)
        counts[method] = Counting(LanguageModel.wrap(*weights(plan)))
        model: Any = counts[method]
        one = Stretch(
            plan, model, lambda plan=plan: weights(plan)[:2], Steps(None, 0), open_stream(plan.problems, "tuning", 0)
        )
        if method == "shared":
            assert one.common.pool
        else:
            [found[method]] = one.results()
    return counts, found


CEILING = Ceiling(PROBLEMS, SAMPLES, VOTERS)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_method_samples_and_scores_no_more_than_its_ceiling(
    method: str, counted: tuple[dict[str, Counting], dict[str, Any]]
) -> None:
    said, made = CEILING.of(method), counted[0][method]
    assert made.sampled <= said.sampled and made.sampled_tokens <= said.sampled * NEW_TOKENS
    scored = made.scored if "lora" not in method else 0
    assert scored <= said.scored
    assert counted[1][method]["cost"]["scored_tokens"] <= said.scored * NEW_TOKENS


@pytest.mark.slow
def test_what_is_fixed_beforehand_is_counted_exactly(counted: tuple[dict[str, Counting], dict[str, Any]]) -> None:
    shared, greedy = counted[0]["shared"], counted[0]["greedy"]
    assert shared.sampled == CEILING.shared.sampled == PROBLEMS * (VOTERS + SAMPLES)
    assert greedy.sampled == CEILING.of("greedy").sampled == PROBLEMS
    assert counted[0]["none"].sampled == counted[0]["majority_8"].sampled == 0
    assert counted[0]["offline_soft_prompt"].sampled == CEILING.of("offline_soft_prompt").sampled


@pytest.mark.slow
def test_on_that_run_every_method_that_can_learn_does(counted: tuple[dict[str, Counting], dict[str, Any]]) -> None:
    """Else the ceilings above would bound nothing."""
    learns = [method for method in METHODS if CEILING.of(method).scored]
    assert len(learns) == 8 and all(counted[1][method]["cost"]["scored_tokens"] > 0 for method in learns)
    assert counted[0]["raw_icl"].sampled > 0


def test_every_method_has_a_ceiling_and_what_is_likely_is_never_more() -> None:
    for method in roster.names(16):
        most, likely = (getattr(Ceiling(500, 4, 16), way)(method) for way in ("of", "likely"))
        assert likely.sampled <= most.sampled and likely.scored <= most.scored
        assert (most.sampled > 0) == (method not in ("none", "majority_16"))


def test_likely_learning_is_what_the_results_say_of_the_embedded_world() -> None:
    text = (REPOSITORY / "docs" / "results.md").read_text(encoding="utf-8")
    names = {
        "reflected_icl": "reflected-trace ICL",
        "paper": "Latent from one problem, no trial",
        "ours": "**ours**",
        "offline_soft_prompt": "offline soft prompt (two passes)",
        "lora_per_problem": "LoRA per problem",
        "lora_offline": "offline LoRA (two passes)",
    }
    assert set(names) == set(ON_THE_EMBEDDED_WORLD)
    for method, words in names.items():
        rows = [row.split("|")[1:-1] for row in re.findall(rf"^\| {re.escape(words)} \|.*$", text, re.MULTILINE)]
        tokens_per_answer = float(next(row[6] for row in rows if len(row) == 7))
        sampled, scored = next([_number(row[3]), _number(row[4])] for row in rows if len(row) == 5 and "," in row[2])
        per_problem = [value / 300 / tokens_per_answer for value in (sampled, scored)]
        assert ON_THE_EMBEDDED_WORLD[method] == pytest.approx(per_problem, abs=0.06), method


def _number(text: str) -> float:
    return float(text.replace(",", ""))


@pytest.mark.skipif(not DATA.is_dir(), reason="the data is not beside the repository")
def test_the_mean_length_is_that_of_a_real_model_s_completions() -> None:
    with (DATA / "math_rollouts.jsonl").open(encoding="utf-8") as lines:
        texts = [text for row in map(json.loads, lines) for text in row["rollouts"]]
    characters_per_token = 2.5
    assert Lengths().completion == pytest.approx(sum(map(len, texts)) / len(texts) / characters_per_token, rel=0.05)


def test_learning_less_leaves_the_answers_as_they_are() -> None:
    most = Work((Draws(2, 10),), (Draws(5, 8),), (Scores(10, 4, 1),))
    less = most.learning_as_much(10, 20)
    assert less.sampled == 20 + 10 and less.scored == 20
    assert most.learning_as_much(1e9, 1e9) == most


def test_a_plan_on_two_seeds_costs_twice_as_much_and_names_every_method() -> None:
    told: dict[str, Any] = {
        "problems": "amc23",
        "model": ModelConfig(name="Qwen/Qwen3-1.7B"),
        "methods": ("none", "ours"),
    }
    one, two = (Expense(Plan(**told, seeds=seeds), DEVICES["h200"]).report() for seeds in ((0,), (0, 1)))
    assert list(one["methods"]) == ["plain rollouts", "none", "ours", "together"]
    assert two["methods"]["together"] == pytest.approx({k: 2 * v for k, v in one["methods"]["together"].items()})
    assert one["problems"] == 40 and one["methods"]["plain rollouts"]["sampled"] == 40 * (16 + 4)
