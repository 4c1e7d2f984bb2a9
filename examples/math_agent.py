"""Watch a frozen model get better at its own stream of problems: `make demo`, or

    python examples/math_agent.py --seed 3
    python examples/math_agent.py --world plain
    python examples/math_agent.py --model Qwen/Qwen3-1.7B --problems mine.jsonl

Each problem is answered before anything is learnt from it, and the memory never sees a label. The tables go to the
terminal, the learning curve to demo.png and every number to demo.json in the current folder.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from latent_memory_plugin.bench import DEMO_PROBLEMS
from latent_memory_plugin.cli.measuring import present
from latent_memory_plugin.cli.options import Shared, one_line_errors, one_line_warnings
from latent_memory_plugin.cli.output import progress


def main(
    model: Annotated[str | None, typer.Option(help="Folder or hub id of a model [default: the embedded one].")] = None,
    problems: Annotated[
        Path | None,
        typer.Option(metavar="FILE.jsonl", help="Your own problems, with 'question' and, for the score, 'answer'."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Draws the problems and the samples.")] = 0,
    count: Annotated[int, typer.Option(min=2, help="Problems of the embedded world in the stream.")] = DEMO_PROBLEMS,
    families: Annotated[
        Literal["tuning", "held-out"], typer.Option(help="Which families of the embedded world.")
    ] = "held-out",
    world: Annotated[
        Literal["plain", "hard"], typer.Option(help="Which half of it, and, without --model, whose model.")
    ] = "hard",
) -> None:
    """Shows a frozen model getting better at its problems."""
    with one_line_errors(debug=False), one_line_warnings():
        # Here, so that Ctrl-C is one line while the libraries load, too.
        from latent_memory_plugin.bench.demo import run
        from latent_memory_plugin.bench.picture import check_plotting

        check_plotting()
        with progress("problems") as advance:
            report = run(seed, count, model, problems, advance, families, world)
        present(Shared(json="demo.json"), report, Path("demo.png"))


if __name__ == "__main__":
    typer.run(main)
