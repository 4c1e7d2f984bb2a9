"""An archive that an enemy wrote is refused whole: it writes nowhere else, and nothing of it is seen."""

import hashlib
import io
import json
import random
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from archive_world import content, fill
from store_builders import ENCODER, MODEL, key, latent, tensor

from latent_memory_plugin import errors
from latent_memory_plugin.records import Standing
from latent_memory_plugin.store import Store
from latent_memory_plugin.store.archive import MANIFEST, STANDINGS

Members = list[tuple[tarfile.TarInfo, bytes]]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of a namespace."""
    folder = tmp_path_factory.mktemp("archive")
    with Store.open(folder / "from", "default", MODEL, ENCODER) as store:
        fill(store)
        store.export_to(folder / "all.tar")
    return folder / "all.tar"


def members(path: Path) -> Members:
    with tarfile.open(path) as file:
        return [(one, file.extractfile(one).read()) for one in file]  # type: ignore[union-attr]


def write(path: Path, parts: Members) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as file:
        for header, data in parts:
            file.addfile(header, io.BytesIO(data))


def renamed(index: int, name: str) -> Callable[[Members], Members]:
    def change(parts: Members) -> Members:
        parts[index][0].name = name
        return parts

    return change


def typed(kind: bytes, target: str = "") -> Callable[[Members], Members]:
    def change(parts: Members) -> Members:
        parts[2][0].type, parts[2][0].linkname = kind, target
        return parts

    return change


def told(**changes: Any) -> Callable[[Members], Members]:
    """Another manifest; `members` is a function of the list of members."""

    def change(parts: Members) -> Members:
        fields = json.loads(parts[0][1])
        for name, value in changes.items():
            fields[name] = value(fields[name]) if callable(value) else value
        text = json.dumps(fields).encode()
        parts[0][0].size = len(text)
        return [(parts[0][0], text), *parts[1:]]

    return change


def member(index: int, **changes: Any) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    return lambda old: [one | changes if number == index else one for number, one in enumerate(old)]


def named_outside(name: str) -> Callable[[Members], Members]:
    return lambda parts: told(members=member(1, name=name))(renamed(2, name)(parts))


def bigger(parts: Members) -> Members:
    header, data = parts[2]
    header.size += 512
    return [*parts[:2], (header, data + bytes(512)), *parts[3:]]


def other_standings(parts: Members) -> Members:
    line = Standing(latent_id="f" * 32).model_dump_json().encode() + b"\n"
    parts[1][0].size = len(line)
    changes = {"bytes": len(line), "sha256": hashlib.sha256(line).hexdigest()}
    return told(members=member(0, **changes))([parts[0], (parts[1][0], line), *parts[2:]])


HOSTILE: dict[str, Callable[[Members], Members]] = {
    "absolute path": named_outside("/tmp/escaped.safetensors"),
    "..": named_outside(f"latents/../../{'0' * 32}.safetensors"),
    "backslash": named_outside(f"latents\\{'0' * 32}.safetensors"),
    "another folder": named_outside(f"chroma/{'0' * 32}.safetensors"),
    "name against the manifest": renamed(2, f"latents/{'0' * 32}.safetensors"),
    "symbolic link": typed(tarfile.SYMTYPE, "/etc/passwd"),
    "hard link": typed(tarfile.LNKTYPE, MANIFEST),
    "device": typed(tarfile.CHRTYPE),
    "pipe": typed(tarfile.FIFOTYPE),
    "folder": typed(tarfile.DIRTYPE),
    "extended header": typed(tarfile.XHDTYPE),
    "long name": typed(tarfile.GNUTYPE_LONGNAME),
    "sparse": typed(tarfile.GNUTYPE_SPARSE),
    "twice in the tar": lambda parts: [*parts[:3], parts[2], *parts[3:]],
    "twice in the manifest": told(members=lambda old: [*old, old[1]]),  # type: ignore[misc]
    "one too few": lambda parts: parts[:-1],
    "one too many": lambda parts: [*parts, parts[2]],
    "another order": lambda parts: [parts[0], parts[2], parts[1], *parts[3:]],
    "no manifest": lambda parts: parts[1:],
    "size against the manifest": bigger,
    "bomb": told(members=member(1, bytes=10**15)),
    "large Latent": told(members=member(1, bytes=(64 << 20) + 1)),
    "negative size": told(members=member(1, bytes=-1)),
    "wrong hash": told(members=member(1, sha256="0" * 64)),
    "no table": told(members=lambda old: [one for one in old if one["name"] != STANDINGS]),  # type: ignore[misc]
    "unknown field": told(surprise=1),
    "another namespace": told(namespace="other"),
    "standing of nobody": other_standings,
    "no journal, but episodes": told(journal=False),
    "no schema": told(schema=None),
}


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a Latent in two namespaces, which no test changes."""
    root = tmp_path_factory.mktemp("target")
    for namespace in ("default", "other"):
        with Store.open(root, namespace, MODEL, ENCODER) as store:
            store.put(latent(namespace=namespace), tensor(), key())
    return root


def tree(root: Path) -> dict[str, str]:
    """Every file of a root but the index and what SQLite keeps beside a journal."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file() and "chroma" not in path.parts and "journal" not in path.name and "lock" not in path.name
    }


def assert_refused(
    archive: Path, target: Path, expected: type[Exception] = errors.CorruptError, match: str | None = None
) -> None:
    before = tree(target)
    with Store.open(target, "default") as store:
        held = content(store)
        with pytest.raises(expected, match=match):
            store.import_from(archive)
        assert content(store) == held
    assert {name: digest for name, digest in tree(target).items() if name != "owner.json"} == before
    assert not [path for path in target.rglob("import-*")]


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_archive_is_refused_whole(
    tmp_path: Path, target: Path, exported: Path, change: Callable[[Members], Members]
) -> None:
    write(path := tmp_path / "hostile.tar", change(members(exported)))
    assert_refused(path, target, match="hostile.tar")
    assert [one.name for one in tmp_path.iterdir()] == ["hostile.tar"]


def test_another_model_and_a_newer_schema_are_named(tmp_path: Path, target: Path, exported: Path) -> None:
    path = tmp_path / "hostile.tar"
    write(path, told(fingerprint="e" * 64, model="big")(members(exported)))
    assert_refused(path, target, errors.WrongModelError, "'big'.*'tiny'")
    write(path, told(schema=2, version="9.1")(members(exported)))
    assert_refused(path, target, errors.StoreError, "schema 2.*9.1")


def test_bytes_that_were_cut_off_or_flipped_change_nothing_or_are_refused(
    tmp_path: Path, target: Path, exported: Path
) -> None:
    whole, path, rng = exported.read_bytes(), tmp_path / "hostile.tar", random.Random(0)
    for cut in (0, 1, 511, 512, 700, len(whole) // 2, len(whole) - 1024, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert_refused(path, target)
    with Store.open(tmp_path / "flipped", "default") as store:
        for _ in range(200):
            place = rng.randrange(len(whole))
            path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << rng.randrange(8))]) + whole[place + 1 :])
            try:
                store.import_from(path)
            except (errors.StoreError, errors.WrongModelError):
                assert list(store.latents()) == list(store.episodes()) == []
            else:  # owner, time or mode in a tar header, which mean nothing here, or a name in the manifest
                store.forget_everything()
