"""`bench candidates`: learning by itself, with any setting changed."""

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from latent_memory_plugin.cli import output
from latent_memory_plugin.cli.options import Shared

if TYPE_CHECKING:
    from latent_memory_plugin.config import Config

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="STAGE.NAME=VALUE", help="Another setting, such as distil.steps=30; repeatable."),
]


def candidates(
    shared: Shared,
    changed: Settings = None,
    episodes: Annotated[int, typer.Option("--episodes", min=2, help="Problems per candidate.")] = 7,
    draws: Annotated[int, typer.Option("--draws", min=1, help="Candidates of each family.")] = 2,
    seed: Annotated[int, typer.Option("--seed", help="Draws the problems and the samples.")] = 0,
    families: Annotated[
        Literal["tuning", "held-out"], typer.Option("--families", help="Which half of the embedded world.")
    ] = "tuning",
) -> None:
    """Measures how often a candidate helps its family, and how often its trial knows.

    A success lifts the accuracy on fresh problems by more than 0.1, or to 0.9.
    """
    from latent_memory_plugin.bench.candidates import Size, measure
    from latent_memory_plugin.sandbox import world

    config = changed_config([f"model.name={json.dumps(shared.model)}", *(changed or [])])
    with output.progress("families") as advance:
        report = measure(config, Size(episodes, draws), seed, world.families(families), advance)
    shown = {name.replace("_", " "): value for name, value in report.items() if not isinstance(value, list)}
    rows = [(name, "none" if value is None else f"{value:g}") for name, value in shown.items()]
    title = f"Candidates of the {families} families, seed {seed} {' '.join(changed or [])}".rstrip()
    output.emit(
        shared, {"set": changed or [], **report}, output.table(title, ("measure", "value"), rows, numbers=("value",))
    )


def changed_config(settings: list[str]) -> "Config":
    """The default settings with some changed, each as `stage.name=value`. Raises ConfigError."""
    from latent_memory_plugin.config import Config
    from latent_memory_plugin.errors import ConfigError

    changes: dict[str, dict[str, Any]] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        stage, dot, field = name.partition(".")
        if not (equals and dot and field):
            raise ConfigError(f"--set {setting!r} is not of the form stage.name=value, such as distil.steps=30.")
        changes.setdefault(stage, {})[field] = _value(text)
    return Config(**changes)  # pyright: ignore[reportArgumentType]


def _value(text: str) -> Any:
    """A number or a truth value where the text is one in JSON, else the text itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
