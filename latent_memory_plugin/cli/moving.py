"""`export` and `import`: a namespace as one file, without loading a model; the same for PEFT adapters, with one."""

from pathlib import Path
from typing import Annotated

import typer

from latent_memory_plugin.cli import output
from latent_memory_plugin.cli.opening import LatentId, existing, listed, root_of, whole_id
from latent_memory_plugin.cli.options import LOOKING, STORE, STORE_AND_MODEL, Shared, command


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    command(app, "export", LOOKING, export)
    command(app, "import", STORE, import_archive)
    command(app, "export-peft", STORE_AND_MODEL, export_peft)
    command(app, "import-peft", STORE_AND_MODEL, import_peft)


def export(
    shared: Shared,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The tar file to write; one that is there is replaced.")],
    latent: Annotated[
        list[str] | None, typer.Option("--latent", metavar="ID", help="This Latent alone, without texts; repeatable.")
    ] = None,
) -> None:
    """Writes the namespace, with its texts, as one tar file; or single Latents without."""
    with listed(shared, read_only=True) as store:
        opened = existing(store, shared)
        chosen = None if latent is None else [whole_id(opened, one) for one in latent]
        manifest = opened.export_to(file, chosen)
    texts = "the journal with all texts" if manifest.journal else "no texts"
    told = f"Wrote {len(manifest.latent_ids)} Latents and {texts} to {file}."
    output.emit(shared, manifest.model_dump(mode="json"), told)


def import_archive(
    shared: Shared, file: Annotated[Path, typer.Argument(metavar="FILE", help="What `export` wrote.")]
) -> None:
    """Takes in all of an exported file or nothing, into this namespace."""
    from latent_memory_plugin.store import Store
    from latent_memory_plugin.store.archive import opened_archive

    with opened_archive(file):  # before a root is made for it
        pass
    with Store.open(root_of(shared), shared.namespace, access=shared.access) as store:
        imported = store.import_from(file)
    latents, episodes = len(imported.latent_ids), len(imported.episode_ids)
    told = f"Imported {latents} Latents and {episodes} episodes; {imported.known} were there already."
    output.emit(shared, imported._asdict(), told)


def export_peft(
    shared: Shared,
    latent_id: LatentId,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new or empty folder.")],
) -> None:
    """Writes a Latent as a PEFT prompt-tuning adapter."""
    with shared.memory() as memory:
        tokens = memory.export_peft(whole_id(memory.opened.store, latent_id), folder)
    output.emit(
        shared, {"folder": str(folder), "virtual_tokens": tokens}, f"Wrote {tokens} virtual tokens to {folder}."
    )


def import_peft(
    shared: Shared,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of a PEFT prompt-tuning adapter.")],
    question: Annotated[str, typer.Option("--question", help="It is read for questions like this one.")],
    live: Annotated[bool, typer.Option("--live", help="Is read as it is, without a trial.")] = False,
) -> None:
    """Stores a PEFT prompt-tuning adapter as a Latent, on probation."""
    with shared.memory() as memory:
        latent_id = memory.import_peft(folder, question, "live" if live else "probation")
    output.emit(shared, {"latent_id": latent_id}, f"Stored {latent_id}.")
