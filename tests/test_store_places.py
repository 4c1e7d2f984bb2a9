"""Where a root lies: one that goes away while it is open, paths that can be none, and the default one of each model."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from store_builders import ENCODER, MODEL, episode, key, latent, near, tensor, use

from latent_memory_plugin import errors
from latent_memory_plugin.config import ModelConfig
from latent_memory_plugin.records import Standing
from latent_memory_plugin.shared import chosen_root, default_root
from latent_memory_plugin.store import Store, namespaces
from latent_memory_plugin.store.access import Access
from latent_memory_plugin.store.root import slug
from latent_memory_plugin.testing import FakeModel


def opened(root: Path) -> Store:
    return Store.open(root, "default", MODEL, ENCODER)


def remove(root: Path) -> None:
    shutil.rmtree(root)


def move(root: Path) -> None:
    root.rename(root.with_name("elsewhere"))


def remove_namespace(root: Path) -> None:
    shutil.rmtree(root / "default")


def replace(root: Path) -> None:
    """By a copy that looks the same."""
    shutil.copytree(root, root.with_name("copy"))
    shutil.rmtree(root)
    root.with_name("copy").rename(root)


@pytest.mark.parametrize("leave", [remove, move, remove_namespace, replace])
@pytest.mark.parametrize("searched", [False, True])
def test_a_root_that_goes_away_takes_nothing_more_and_opened_again_is_a_fresh_one(
    tmp_path: Path, leave: Any, searched: bool
) -> None:
    root = tmp_path / "root"
    gone = opened(root)
    gone.commit(one := episode(), key())
    gone.put(learnt := latent(), tensor(), key())
    if searched:
        assert len(near(gone, key())) == len(gone.nearest(key())) == 1
    leave(root)
    acts: list[Any] = [
        lambda: gone.commit(episode("lost"), key()),
        lambda: gone.update(one),
        lambda: gone.put(latent(), tensor(), key()),
        lambda: gone.stand(Standing(latent_id=learnt.id, state="retired")),
        lambda: gone.record_uses([use("a", learnt.id)]),
        lambda: gone.forget_everything(),
        lambda: gone.nearest(key()),
    ]
    for act in acts:
        with pytest.raises(errors.StoreError, match=r"deleted or moved.*open the root where it is now"):
            act()
    with opened(root) as fresh:
        fresh.commit(kept := episode("kept"), key(1.0))
        fresh.put(here := latent(), tensor(), key(1.0))
        with pytest.raises(errors.StoreError, match="deleted or moved"):
            gone.commit(episode("lost"), key())
        assert near(fresh, key(1.0))[0][0] == kept and fresh.nearest(key(1.0))[0][0] == here.id
        gone.close()
        assert (root / "owner.json").exists()
    with opened(root) as again:
        assert kept in list(again.episodes()) and "lost" not in {one.question for one in again.episodes()}
        assert near(again, key(1.0))[0][0] == kept and again.nearest(key(1.0))[0][0] == here.id
        assert again.mended == ()


def test_a_moved_root_is_whole_where_it_is_now(tmp_path: Path) -> None:
    gone = opened(tmp_path / "root")
    gone.commit(one := episode(), key())
    move(tmp_path / "root")
    gone.close()
    assert not (tmp_path / "root").exists()
    with opened(tmp_path / "elsewhere") as store:
        assert near(store, key()) == [(one, 1.0)]


def test_one_notebook_that_deletes_its_root_and_opens_it_again_keeps_what_it_learns(tmp_path: Path) -> None:
    root, stores = tmp_path / "root", [opened(tmp_path / "root")]
    shutil.rmtree(root)
    stores.append(opened(root))
    stores[1].commit(episode("learnt after"), key())
    for store in stores:
        store.close()
    with opened(root) as store:
        assert [one.question for one in store.episodes()] == ["learnt after"]


def test_the_home_folder_is_meant_by_its_sign_in_the_variable_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LATENT_MEMORY_ROOT", "~/x")
    assert default_root() == chosen_root(None) == tmp_path / "home" / "x" == chosen_root("~/x")
    with Store.open(Path("~/x"), "default") as store:
        assert store.root == tmp_path / "home" / "x"
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_without_a_home_folder_the_default_root_is_asked_for_and_none_is_made_of_its_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwd = pytest.importorskip("pwd")

    def nobody(_: object) -> None:
        raise KeyError("no such user")

    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "XDG_DATA_HOME", "LATENT_MEMORY_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for act in (default_root, lambda: chosen_root(None), lambda: chosen_root(None, "some model")):
        with pytest.raises(errors.InputError, match=r"home folder.*LATENT_MEMORY_ROOT"):
            act()
    with pytest.raises(errors.InputError, match="home folder"):
        chosen_root("~/x")
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_can_be_no_root_is_refused_in_words_that_name_why(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    cases: dict[str, tuple[Path | str, type[errors.LatentMemoryError], str]] = {
        "long": (tmp_path / ("x" * 490), errors.StoreError, "too long"),
        "dangling": (tmp_path / "dangling", errors.StoreError, r"is a link to '.*nowhere'"),
        "below": (tmp_path / "dangling" / "x", errors.StoreError, r"is a link to '.*nowhere'"),
        "circle": (tmp_path / "circle", errors.StoreError, "link"),
        "nul": ("a\0b", errors.InputError, "NUL"),
        "surrogate": ("a\ud800b", errors.InputError, "surrogate"),
        "nobody": ("~no such user/x", errors.InputError, "home folder"),
    }
    for name, (path, kind, words) in cases.items():
        with pytest.raises(kind, match=words) as refused:
            Store.open(path, "default")  # pyright: ignore[reportArgumentType]
        assert "free some space" not in str(refused.value), name
        if kind is errors.InputError:
            for act in (chosen_root, namespaces):
                with pytest.raises(errors.InputError, match=words):
                    act(path)
            with pytest.raises(errors.InputError, match=words):
                Store.open(path, "default", access=Access(read_only=True))  # pyright: ignore[reportArgumentType]
    for wrong in (3, b"bytes", ["x"]):
        with pytest.raises(errors.InputError, match="not a path"):
            chosen_root(wrong)  # pyright: ignore[reportArgumentType]


def test_each_named_model_has_a_default_root_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENT_MEMORY_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "local").mkdir()
    names = ["lab/Small-1", "lab/small-1", "lab_small_1", "latents", "local"]
    roots = [chosen_root(None, name) for name in names]
    assert roots[0] == tmp_path / "models" / slug("lab/Small-1") and roots[0].name.startswith("lab_small_1-")
    assert len(set(roots)) == len(names) and {one.parent for one in roots} == {tmp_path / "models"}
    assert chosen_root(None) == chosen_root(None, ModelConfig()) == chosen_root(None, FakeModel({}, name="embedded"))  # type: ignore[arg-type]
    assert chosen_root(None, ModelConfig(name="lab/Small-1")) == chosen_root(None, Path("lab/Small-1")) == roots[0]
    assert chosen_root(None, "local") == chosen_root(None, "./local") == chosen_root(None, tmp_path / "local")
    assert chosen_root(tmp_path / "mine", "lab/Small-1") == tmp_path / "mine"
    for name, root in zip(names, roots, strict=True):
        Store.open(root, "default", (name, slug(name)), ENCODER).close()
    Store.open(chosen_root(None), "models", ("embedded", "0" * 64), ENCODER).close()
    assert namespaces(tmp_path) == ["models"]


def test_a_default_root_that_belongs_to_a_named_model_already_stays_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATENT_MEMORY_ROOT", str(tmp_path))
    Store.open(tmp_path, "default", ("lab/small", "5" * 64), ENCODER).close()
    assert chosen_root(None, "lab/small") == tmp_path
    assert chosen_root(None, "lab/other") != tmp_path
    (tmp_path / "store.json").write_text(json.dumps([1]))
    assert chosen_root(None, "lab/small") != tmp_path
