"""Namespaces are walls: whatever they are called, none sees, overwrites, exports or deletes what is another's."""

import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from store_builders import ENCODER, MODEL, episode, key, latent, near, tensor, use
from typer.testing import CliRunner

from latent_memory_plugin import LatentMemory, errors
from latent_memory_plugin.cli import app
from latent_memory_plugin.config import Config, StoreConfig
from latent_memory_plugin.records import Latent, Problem, Standing
from latent_memory_plugin.store import Store
from latent_memory_plugin.store.root import folder_name
from latent_memory_plugin.testing import FakeModel

RESERVED = (
    "chroma",
    "lock",
    "store.json",
    "owner.json",
    "latents",
    "journal.sqlite",
    "con",
    "NUL",
    "com1",
    "quarantine",
)
NAMES = st.one_of(
    st.sampled_from((*RESERVED, "default", "../x", "..", ".", "a/b", "a\\b", "/etc/passwd", "~", "*", "[a-z]*", "_")),
    st.from_regex(r"[a-z0-9][a-z0-9_]{0,8}", fullmatch=True),
    st.text(min_size=1, max_size=30),
    st.characters(exclude_categories=["Cs"]).map(lambda letter: letter * 3000),
)  # fmt: skip
TWINS: tuple[Callable[[str], str], ...] = (
    *(str.upper, str.lower, str.swapcase, str.title, str.strip, folder_name, str.casefold),
    *(lambda name: name + " ", lambda name: name + ".", lambda name: " " + name, lambda name: name + "\n"),
    *(lambda name: "../" + name, lambda name: "./" + name, lambda name: name + "/", lambda name: name + "/../" + name),
    *(lambda name: name + "*", lambda name: name + "\u200b", lambda name: name.replace("a", "а").replace("e", "е")),
    *(lambda name: unicodedata.normalize("NFC", name), lambda name: unicodedata.normalize("NFD", name)),
    *(lambda name: unicodedata.normalize("NFKC", name), lambda name: name[:-1], lambda name: name * 2),
    *(lambda name: folder_name(name) + ".latents", lambda name: folder_name(name).upper(), lambda name: name[:100]),
)


def usable(name: str) -> bool:
    return bool(name) and "\0" not in name and not re.search("[\ud800-\udfff]", name)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[str, str]:
    """Two namespaces that are different, often by very little."""
    one = draw(NAMES.filter(usable))
    other = draw(st.one_of(NAMES, st.sampled_from(TWINS).map(lambda twin: twin(one))))
    assume(usable(other) and one != other)
    return one, other


@settings(max_examples=2000, deadline=None)
@given(pairs())
def test_folders_and_collections_of_two_namespaces_differ_on_every_file_system(names: tuple[str, str]) -> None:
    one, other = (folder_name(name) for name in names)
    for folder in (one, other):
        assert re.fullmatch(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9_])?", folder)
        assert folder not in {"chroma", "lock", "con", "com1"} and folder.casefold() == folder == unicodedata.normalize(
            "NFKD", folder
        )
        # Chroma: 3 to 512 of [a-zA-Z0-9._-], a letter or digit at both ends.
        assert re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9._-]{1,510}[a-zA-Z0-9]", f"{folder}.latents.{'0' * 8}")
    assert one != other


class Told:
    """What one namespace was told, and how it is recognised."""

    def __init__(self, store: Store, number: int) -> None:
        self.store = store
        self.secret = f"secret number {number:032x}"
        self.asked = episode(self.secret, reason=self.secret)
        self.learnt = latent(namespace=store.namespace, objective=self.secret, parents=(self.asked.id,))
        store.commit(self.asked, key())
        store.put(self.learnt, tensor(number), key())
        store.stand(Standing(latent_id=self.learnt.id, state="probation", reason=self.secret))
        store.record_uses([use(f"answer {number}", self.learnt.id)])
        self.number = number

    def assert_whole(self) -> None:
        """All of it, and nothing else, is seen."""
        store, latent_id = self.store, self.learnt.id
        assert list(store.latents()) == [self.learnt] and list(store.episodes()) == [self.asked]
        assert [found for found, _ in store.nearest(key(), 99)] == [latent_id]
        assert [found for found, _ in near(store, key(), 99)] == [self.asked]
        assert store.standing(latent_id).reason == self.secret
        assert [one.answer_id for one in store.uses()] == [f"answer {self.number}"]
        np.testing.assert_array_equal(store.tensors(latent_id)["latent"], tensor(self.number))


def assert_stranger(store: Store, other: Told, archive: Path) -> None:
    """No call on a store reaches what belongs to another."""
    latent_id = other.learnt.id
    reading = (store.latent, store.tensors, store.latent_key, store.standing, store.remove)
    for act in (*reading, lambda one: store.forget_latents([one]), lambda one: store.export_to(archive, [one])):
        with pytest.raises(errors.NotFoundError):
            act(latent_id)
    for act in (store.episode, store.episode_key):
        with pytest.raises(errors.NotFoundError):
            act(other.asked.id)
    with pytest.raises(errors.NotFoundError):
        store.update(other.asked)
    with pytest.raises(errors.InputError, match="namespace"):
        store.put(other.learnt, tensor(), key())
    assert store.forget_problem(Problem(question=other.secret).hash) == (0, 0, 0)
    assert store.uses(latent_id=latent_id) == []
    store.export_to(archive)
    content = archive.read_bytes()
    assert other.secret.encode() not in content and latent_id.encode() not in content


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One root, kept open: Chroma starts once."""
    path = tmp_path_factory.mktemp("walls") / "deep" / "root"
    with Store.open(path, "kept open", MODEL, ENCODER):
        yield path
    assert [one.name for one in path.parent.iterdir()] == ["root"]


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(pairs())
def test_no_call_on_a_namespace_reaches_another(root: Path, names: tuple[str, str]) -> None:
    archive = root.parents[1] / "archive.tar"
    mine, theirs = (Store.open(root, name, MODEL, ENCODER) for name in names)
    with mine, theirs:
        one, other = Told(mine, 1), Told(theirs, 2)
        for _ in range(2):
            one.assert_whole()
            other.assert_whole()
            assert_stranger(mine, other, archive)
            assert_stranger(theirs, one, archive)
        mine.export_to(archive)
        theirs.import_from(archive)
        theirs.forget_latents([one.learnt.id])
        theirs.forget_problem(Problem(question=one.secret).hash)
        other.assert_whole()
        one.assert_whole()
        mine.forget_everything()
        assert list(mine.latents()) == list(mine.episodes()) == mine.nearest(key()) == []
        other.assert_whole()
        theirs.forget_everything()
    assert sorted(path.name for path in root.parent.iterdir()) == ["root"]


HOSTILE = (
    "default",
    "Default",
    "../default",
    "default/",
    "dеfault",
    "default ",
    "é",
    "e\u0301",
    "*",
    "chroma",
    "x" * 3000,
)


def cli(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout + result.stderr


def test_no_command_reaches_another_namespace(tmp_path: Path) -> None:
    root, archive = tmp_path / "root", tmp_path / "archive.tar"
    told: dict[str, tuple[Latent, str]] = {}
    for number, name in enumerate(HOSTILE):
        with Store.open(root, name, MODEL, ENCODER) as store:
            one = Told(store, number)
            told[name] = one.learnt, one.secret
    for name, (mine, secret) in told.items():
        where = ("--root", root, "--namespace", name)
        others = [other for other in told if other != name]
        seen = [cli("list", "--json", "-", *where), cli("show", mine.id, "--json", "-", *where), cli("list", *where)]
        assert [code for code, _ in seen] == [0, 0, 0]
        assert [one["id"] for one in json.loads(seen[0][1])["latents"]] == [mine.id]
        assert not any(told[other][1] in text or told[other][0].id in text for other in others for _, text in seen)
        assert cli("export", archive, *where)[0] == 0
        content = archive.read_bytes()
        assert secret.encode() in content
        for other in others:
            theirs, their_secret = told[other]
            assert their_secret.encode() not in content
            for command in ("show", "forget"):
                code, text = cli(command, theirs.id, *where)
                assert code == 1 and their_secret not in text
        assert cli("export", archive, "--latent", told[others[0]][0].id, *where)[0] == 1
        assert cli("forget", "--question", told[others[0]][1], *where)[0] == 0
    assert cli("forget", "--all", "--yes", "--root", root, "--namespace", HOSTILE[0])[0] == 0
    for name, (mine, _) in told.items():
        with Store.open(root, name) as store:
            assert [one.id for one in store.latents()] == ([] if name == HOSTILE[0] else [mine.id])
            assert len(list(store.episodes())) == len(store.uses()) == int(name != HOSTILE[0])
    taken, giver = ("--root", root, "--namespace", HOSTILE[0]), told[HOSTILE[-1]][0].id
    assert cli("import", archive, *taken)[0] == 0 and giver in cli("list", "--json", "-", *taken)[1]
    assert cli("forget", giver, *taken)[0] == 0
    with Store.open(root, HOSTILE[-1]) as store:
        assert [one.id for one in store.latents()] == [giver] and len(store.uses()) == 1
    assert cli("evict", "--past", "--json", "-", *taken)[0] == 0
    assert cli("check", "--repair", "--root", root)[0] == 0


def test_a_memory_finds_its_own_latents_alone(tmp_path: Path) -> None:
    model = FakeModel({"sum: 1+1": ("2", "3")})
    memories = {name: LatentMemory(tmp_path, namespace=name, model=model) for name in HOSTILE[:6]}  # pyright: ignore[reportArgumentType]
    learnt: dict[str, Latent] = {}
    for name, memory in list(memories.items())[:3]:
        store = memory.opened.store
        record = latent(namespace=name, model=model.name, fingerprint=model.fingerprint, encoder=store.encoder)
        store.put(record, tensor(), memory.opened.encoder.keys(["sum: 1+1"])[0])
        learnt[name] = record
    for name, memory in memories.items():
        mine = [learnt[name].id] if name in learnt else []
        assert memory.find("sum: 1+1").latent_id == (mine[0] if mine else None)
        assert set(memory.ask("sum: 1+1").latent_ids) <= set(mine)
        assert [one.id for one in memory.latents()] == mine
        memory.close()
    evicting = Config(store=StoreConfig(max_latents=1))
    for number, (name, record) in enumerate(learnt.items()):
        with LatentMemory(tmp_path, model, name, evicting) as memory:  # pyright: ignore[reportArgumentType]
            store = memory.opened.store
            another = record.model_copy(update={"id": f"{number:032x}"})
            store.put(another, tensor(), store.latent_key(record.id))
            assert [len(list(memory.latents())), len(memory.evict()), len(list(memory.latents()))] == [2, 1, 1]
