"""The tables of docs/real-models.md, made by the arithmetic they show: `make docs` writes them into the page."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from latent_memory_plugin.bench.cost import DEVICES, GIB, Device, Lengths, Machine, Precision, latent_bytes
from latent_memory_plugin.bench.online.ceiling import Ceiling
from latent_memory_plugin.bench.shapes import PUBLISHED, Shape, shape_of

PAGE = Path(__file__).parents[1] / "docs" / "real-models.md"
BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
PLACES: tuple[tuple[Device, Precision], ...] = tuple(
    (DEVICES[name], precision) for name in ("rtx-4090", "a100-80gb") for precision in ("bfloat16", "4bit")
)
MATH_500 = Ceiling(problems=500, samples=4, voters=16)
METHODS = ("paper", "ours")
NOTHING = "–"


def render(page: str) -> str:
    """The page with its tables made anew."""
    return BLOCK.sub(lambda found: found[1] + "\n".join((*TABLES[found[2]](), found[3])), page)


def memory() -> Iterator[str]:
    """Bytes of each size."""
    columns = ("weights, bfloat16", "weights, 4 bits", "cache of a token", "of a row", "learning, a token", "a Latent")
    yield f"| model | parameters | {' | '.join(columns)} |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    for shape in shapes():
        whole, small = (Machine(shape, DEVICES["h200"], precision) for precision in ("bfloat16", "4bit"))
        token, learning = whole.cache_token_bytes, whole.pass_token_bytes
        yield (
            f"| {shape.name} | {shape.parameters:,} | {gib(whole.weights_bytes)} | {gib(small.weights_bytes)} | "
            f"{token / 1024:.0f} KiB | {token * Lengths().row / 2**20:,.0f} MiB | {learning / 2**20:.1f} MiB | "
            f"{latent_bytes(shape) / 1024:.0f} KiB |"
        )


def fits() -> Iterator[str]:
    """Rows sampled together and tokens of one pass."""
    yield "| model | " + " | ".join(f"{place(*one)}" for one in PLACES) + " |"
    yield "|---|" + "---:|" * len(PLACES)
    for shape in shapes():
        yield f"| {shape.name} | " + " | ".join(room(Machine(shape, *one)) for one in PLACES) + " |"


def hours() -> Iterator[str]:
    """Hours for MATH-500."""
    yield "| model | " + " | ".join(f"{name}, {place(*one)}" for one in PLACES for name in METHODS) + " |"
    yield "|---|" + "---:|" * (len(PLACES) * len(METHODS))
    for shape in shapes():
        cells = (spent(Machine(shape, *one), name) for one in PLACES for name in METHODS)
        yield f"| {shape.name} | " + " | ".join(cells) + " |"


def tokens() -> Iterator[str]:
    """Completions and tokens per problem."""
    yield "| method | sampled | at most | trained | at most | tokens sampled | at most |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    both = {"plain rollouts": (MATH_500.shared, MATH_500.shared)}
    names = ("greedy", "raw_icl", "reflected_icl", "paper", "ours", "offline_soft_prompt")
    both |= {name: (MATH_500.likely(name), MATH_500.of(name)) for name in (*names, "lora_per_problem", "lora_offline")}
    for name, (likely, most) in both.items():
        each = (likely.sampled, most.sampled, likely.scored, most.scored)
        counts = " | ".join(f"{count / MATH_500.problems:,.1f}" for count in each)
        sampled = [likely.sampled * Lengths().completion, most.sampled * Lengths().longest]
        yield f"| {name} | {counts} | " + " | ".join(f"{one / MATH_500.problems:,.0f}" for one in sampled) + " |"


TABLES: dict[str, Callable[[], Iterator[str]]] = {"memory": memory, "fits": fits, "hours": hours, "tokens": tokens}


def shapes() -> list[Shape]:
    """All published ones, the smallest first."""
    return sorted(map(shape_of, PUBLISHED), key=lambda shape: shape.parameters)


def place(device: Device, precision: Precision) -> str:
    """A column's title."""
    return f"{device.name}, {precision.replace('4bit', '4 bits')}"


def gib(size: float) -> str:
    """Gibibytes."""
    return f"{size / GIB:.1f} GiB"


def learns(machine: Machine) -> bool:
    """Whether it can learn from the longest row."""
    return machine.pass_tokens >= Lengths().row


def room(machine: Machine) -> str:
    """Rows together, and tokens of a pass; in brackets where that is less than the longest row."""
    if machine.free_bytes < machine.cache_token_bytes * Lengths().row:
        return NOTHING
    tokens = f"{max(0, machine.pass_tokens):,}"
    return f"{machine.rows(Lengths()):,} / {tokens if learns(machine) else f'({tokens})'}"


def spent(machine: Machine, method: str) -> str:
    """Hours of the plain rollouts and a method, likely and at most."""
    if not learns(machine):
        return NOTHING
    both = ((MATH_500.likely(method), Lengths()), (MATH_500.of(method), Lengths().at_most))
    parts = [
        machine.seconds((*MATH_500.shared.answering, *work.answering, *work.learning), work.scores, lengths) / 3600
        for work, lengths in both
    ]
    return " to ".join(f"{part:,.0f}" if part >= 10 else f"{part:.1f}" for part in parts)


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
