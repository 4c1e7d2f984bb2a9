r"""The experiment of arXiv 2606.17803 on real models and problems: what it would cost, then for real.

    python examples/reproduce_paper.py --dry-run --on a100-80gb
    python examples/reproduce_paper.py --model Qwen/Qwen3-1.7B --problems amc23 --problems math-500

Every problem is answered before anything is learnt from it; the preset `paper`, the default preset and the baselines of
`latent-memory bench online` see the same plain rollouts. Each finished method is a file under --out, and plain rollouts
are kept as they come: killed and started again with the same options, the run goes on where it was. The report of all
that is finished is results.json there. Data sets come from the hub (pip install 'latent-memory-plugin[datasets]') or
from files: --problems math-500=FILE.jsonl with the hub's fields, --problems FILE.jsonl with `question` and `answer`.
"""

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from latent_memory_plugin.cli.costing import estimate
from latent_memory_plugin.cli.options import Shared, one_line_errors, one_line_warnings
from latent_memory_plugin.cli.output import emit, progress, table

if TYPE_CHECKING:
    from rich.table import Table

    from latent_memory_plugin.bench.online.asking import Asking
    from latent_memory_plugin.bench.online.plan import Plan
    from latent_memory_plugin.config import ModelConfig, SamplingConfig

MODELS = ["meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen2.5-Math-7B", "Qwen/Qwen3-1.7B"]
PROBLEMS = ["math-500", "amc23", "aime24", "gsm8k"]
BASELINES = "none,majority_16,greedy,raw_icl,reflected_icl,offline_soft_prompt,lora_per_problem,lora_offline"
INSTRUCTION = r"Please reason step by step, and put your final answer within \boxed{}."
"""What TTRL (arXiv 2504.16084) puts behind every problem; temperature, top_p and length below are its, too."""
REPORTED: dict[tuple[str, str], dict[str, float]] = {
    (MODELS[0], "math-500"): {"paper": 0.514, "raw_icl": 0.463},
    (MODELS[0], "amc23"): {"paper": 0.26, "raw_icl": 0.217},
    (MODELS[0], "aime24"): {"paper": 0.067, "raw_icl": 0.033},
    (MODELS[1], "math-500"): {"offline_soft_prompt": 0.734},
    (MODELS[1], "amc23"): {"offline_soft_prompt": 0.65},
    (MODELS[1], "aime24"): {"offline_soft_prompt": 0.2},
}
"""Accuracies that arXiv 2606.17803 reports, as a third party quotes them: online with Llama, offline with Qwen. Its
learning rate, temperature, threshold, verifier and prompt are not known."""
OUT = Path("reproduce-paper")
RESULTS = "results.json"


def main(
    model: Annotated[list[str], typer.Option(metavar="ID|FOLDER", help="A model; give several one by one.")] = MODELS,
    problems: Annotated[list[str], typer.Option(metavar="SET|SET=FILE|FILE", help="Likewise.")] = PROBLEMS,
    methods: Annotated[str, typer.Option(help="Of `latent-memory bench online`.")] = f"{BASELINES},paper,ours",
    samples: Annotated[int, typer.Option(help="Answers per problem and method.")] = 4,
    voters: Annotated[int, typer.Option(help="Plain rollouts of each problem.")] = 16,
    seed: Annotated[list[int], typer.Option(help="Order of a stream; several are pooled.")] = [0],  # noqa: B006
    first: Annotated[int | None, typer.Option(help="Problems of a set at most.")] = None,
    max_new_tokens: Annotated[int, typer.Option(help="Longest completion.")] = 3072,
    temperature: Annotated[float, typer.Option(help="Of sampling.")] = 0.6,
    top_p: Annotated[float, typer.Option(help="Of sampling.")] = 0.95,
    instruction: Annotated[str, typer.Option(help="Stands behind every problem.")] = INSTRUCTION,
    thinking: Annotated[bool, typer.Option(help="Lets models think; needs more --max-new-tokens.")] = False,
    dtype: Annotated[Literal["auto", "float32", "bfloat16"], typer.Option(help="Format of the weights.")] = "bfloat16",
    device: Annotated[str, typer.Option(help="Where the model goes.")] = "auto",
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = OUT,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Says what it would cost, and loads no model.")] = False,
    on: Annotated[str, typer.Option(metavar="DEVICE", help="Of --dry-run, or GIB:GB/S:TFLOPS.")] = "a100-80gb",
    tokens: Annotated[int | None, typer.Option(help="Of --dry-run: the mean completion.")] = None,
) -> None:
    """Runs the experiment of arXiv 2606.17803, or says what it would cost."""
    with one_line_errors(debug=False), one_line_warnings():
        from latent_memory_plugin.config import ModelConfig, SamplingConfig

        sampling = SamplingConfig(temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens)
        models = [ModelConfig(name=name, dtype=dtype, device=device) for name in model]
        chosen = methods.replace("majority_16", f"majority_{voters}").split(",")
        counts = {"samples": samples, "voters": voters, "first": first, "seeds": tuple(dict.fromkeys(seed))}
        each = {"methods": tuple(chosen), "asking": asking(sampling, instruction, thinking), **counts}
        plans = [plan(one, name, out, each) for one in models for name in problems]
        estimate(Shared(), plans, on, tokens) if dry_run else run(plans, out)


def asking(sampling: "SamplingConfig", instruction: str, thinking: bool) -> "Asking":
    """How a model is asked."""
    from latent_memory_plugin.bench.online.asking import Asking

    return Asking(sampling, instruction, thinking)


def plan(model: "ModelConfig", problems: str, out: Path, each: dict[str, Any]) -> "Plan":
    """What is measured of one model on one set; the true effects of its Latents, which need other labelled problems,
    are not."""
    from latent_memory_plugin.bench.online.plan import Plan

    return Plan(problems, model=model, out=out / slug(str(model.name)), effects=False, **each)


def run(plans: "Sequence[Plan]", out: Path) -> None:
    """One plan after the other; the report of all so far is written after each."""
    from dataclasses import replace

    from latent_memory_plugin.bench.online.expense import pass_tokens
    from latent_memory_plugin.bench.online.files import write
    from latent_memory_plugin.bench.online.report import summarise
    from latent_memory_plugin.bench.online.run import measure
    from latent_memory_plugin.bench.online.stream import open_stream

    fitted = [replace(plan, max_batch_tokens=pass_tokens(plan)) for plan in plans]
    for plan in plans:  # what is missing is said before the first day of sampling, not after it
        open_stream(plan.problems, plan.split, 0, plan.first)
    found: list[dict[str, Any]] = []
    for plan in fitted:
        with progress(f"{plan.model.name} on {plan.problems}") as advance:
            report = summarise(measure(plan, advance))
        stream = report["streams"][0]["name"]
        reported = REPORTED.get((str(plan.model.name), stream), {})
        found.append({"model": plan.model.name, "problems": stream, "reported": reported, **report})
        write(out / RESULTS, {"experiments": found})
        gc.collect()  # the model, before the next one is loaded beside it
    shown = [part for one in found for part in (f"{one['model']} on {one['problems']}", accuracies(one))]
    emit(Shared(), None, *shown, f"All figures are in {out / RESULTS}, the raw answers beside it.")


def accuracies(one: dict[str, Any]) -> "Table":
    """Every method's, beside those the paper reports."""
    rows = [
        (name, *map(share, figures(measured)), share(one["reported"].get(name)))
        for name, measured in one["methods"].items()
    ]
    columns = ("method", "whole", "later", "from", "to", "read", "paper's")
    return table("Accuracy, and that after the first third with its 95 % interval", columns, rows, columns[1:])


def figures(measured: dict[str, Any]) -> tuple[float | None, ...]:
    """Accuracy over the whole stream, after its first third and that one's interval, and what read something."""
    low, high = measured["interval"] or (None, None)
    return measured["whole_stream"], measured["after_first_third"], low, high, measured["coverage"]


def share(value: float | None) -> str:
    """Three digits, or nothing."""
    return "" if value is None else f"{value:.3f}"


def slug(name: str) -> str:
    """A model's name as one folder."""
    return name.strip("./~").replace("/", "--") or "model"


if __name__ == "__main__":
    typer.run(main)
