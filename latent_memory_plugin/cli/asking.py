"""`ask`: one question, one answer, and what it was answered from."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from latent_memory_plugin.cli import output
from latent_memory_plugin.cli.options import STORE_AND_MODEL, Shared, command, given

if TYPE_CHECKING:
    from latent_memory_plugin.memory import LatentMemory
    from latent_memory_plugin.records import Answer

Mode = Annotated[
    Literal["always", "threshold", "agree"] | None,
    typer.Option("--route", help="When a Latent is read; agree also asks without it, and a verifier decides."),
]
VerifierName = Annotated[
    Literal["likelihood", "vote"] | None, typer.Option("--verifier", help="Decides where the two answers differ.")
]


def register(app: typer.Typer) -> None:
    """Adds the command of this file."""
    command(app, "ask", STORE_AND_MODEL, ask)


def ask(
    shared: Shared,
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="The problem in words.")],
    temperature: Annotated[float | None, typer.Option(help="0 takes the likeliest token each time.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Sample from the likeliest tokens of this probability.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="Longest completion.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same answer.")] = None,
    n: Annotated[int, typer.Option("--n", help="Completions; the text is the first that gives the vote's answer.")] = 1,
    no_memory: Annotated[bool, typer.Option("--no-memory", help="Asks the plain model.")] = False,
    route: Mode = None,
    verifier: VerifierName = None,
) -> None:
    """Answers a question, reading the Latent that applies."""
    from latent_memory_plugin.records import Problem

    Problem(question=question)  # an unusable question is refused before the model is loaded
    sampling = given(temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens)
    with _memory(shared, given(mode=route, verifier=verifier)) as memory:
        if no_memory:
            memory.off()
        answer = memory.ask(question, n=n, seed=seed, **sampling)
    output.emit(shared, answer.model_dump(mode="json"), answer.text, "", output.facts(_facts(answer)))


def _memory(shared: Shared, route: dict[str, Any]) -> "LatentMemory":
    from latent_memory_plugin.config import Config, RouteConfig

    return shared.memory(Config(route=RouteConfig(**route)))


def _facts(answer: "Answer") -> list[tuple[str, str]]:
    used = answer.usage
    return [
        ("answer", "none found in the text" if answer.answer is None else answer.answer),
        ("memory", answer.reason),
        ("tokens", f"{used.prompt_tokens} prompt, {used.latent_tokens} Latent, {used.completion_tokens} sampled"),
        ("seed", str(answer.seed)),
    ]
