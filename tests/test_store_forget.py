"""What is forgotten is gone: from every answer, and byte for byte from the folder."""

import sqlite3
import time
from pathlib import Path

import pytest
from store_builders import ENCODER, MODEL, VOTE, episode, key, latent, near, old_journal, tensor, use

from latent_memory_plugin import errors
from latent_memory_plugin.records import Episode, Latent, Rollout, Standing
from latent_memory_plugin.store import Store

SECRET, KEPT = "Where did Alice Zyx hide 7 keys?", "How many posts does a fence of 10 m need?"
DAY = 86_400.0


def bytes_hold(root: Path, *words: str) -> set[str]:
    """Which of these words stand in some file under the root."""
    contents = [path.read_bytes() for path in root.rglob("*") if path.is_file()]
    return {word for word in words if any(word.encode() in content for content in contents)}


def asked(question: str, **changes: object) -> Episode:
    rollouts = (Rollout(text=f"{question} thinks: #### 12", answer="12"),)
    return episode(question, rollouts=rollouts, vote=VOTE, **changes)


def put(store: Store, parent: Episode, **changes: object) -> Latent:
    fields = {"parents": (parent.id,), "problem_hash": parent.problem.hash, "namespace": store.namespace}
    store.put(one := latent(**(fields | changes)), tensor(), key())
    return one


def test_a_question_is_forgotten_with_all_that_came_of_it_and_with_nothing_else(tmp_path: Path) -> None:
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        first, second, other = asked(SECRET), asked(SECRET), asked(KEPT)
        said = f"The reward raised ValueError: no for the completion {SECRET!r}."
        for number, one in enumerate((first, second, other, asked("failed", state="failed", reason=said))):
            store.commit(one, key(0.1 * number))
        learnt = put(store, first)
        put(store, other, parents=(other.id, second.id), previous=learnt.id)
        apart = put(store, other)
        store.stand(Standing(latent_id=learnt.id, state="superseded", reason="Zyx"))
        asking = {"problem_hash": first.problem.hash, "answer": "Zyx answered"}
        store.record_uses([use("a", learnt.id), use("b", apart.id), use("c", apart.id, **asking)])
        assert bytes_hold(tmp_path, SECRET, "Zyx answered") == {SECRET, "Zyx answered"}

        assert store.forget_problem(first.problem.hash) == (2, 2, 2)
        assert bytes_hold(tmp_path, SECRET, "Zyx", "Alice") == set()
        assert [one.id for one in store.latents()] == [one for one, _ in store.nearest(key(), 9)] == [apart.id]
        assert [one.question for one in store.episodes()] == [KEPT, "failed"]
        assert [one.question for one, _ in near(store, key(), 9)] == [KEPT, "failed"]
        assert [one.answer_id for one in store.uses()] == ["b"]
        assert store.forget_problem(first.problem.hash) == (0, 0, 0)
    assert bytes_hold(tmp_path, SECRET, "Zyx") == set()


def test_by_age_goes_what_is_older(tmp_path: Path) -> None:
    now = time.time()
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        store.commit(old := asked(SECRET, created=now - 40 * DAY), key())
        store.commit(asked(KEPT, created=now - 20 * DAY), key(1.0))
        put(store, old, created=now - 39 * DAY)
        young = put(store, old, created=now - 1 * DAY)
        store.record_uses([use("old", young.id, created=now - 31 * DAY), use("new", young.id, created=now)])
        assert store.forget_older(now - 30 * DAY) == (1, 1, 1)
        assert [one.id for one in store.latents()] == [young.id]
        assert [one.question for one in store.episodes()] == [KEPT]
        assert [one.answer_id for one in store.uses()] == ["new"]
    assert bytes_hold(tmp_path, SECRET) == set()


def test_everything_goes_of_one_namespace_alone_and_it_can_be_used_again(tmp_path: Path) -> None:
    others = Store.open(tmp_path, "other", MODEL, ENCODER)
    others.commit(theirs := asked(KEPT), key())
    put(others, theirs)
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        for number in range(50):
            store.commit(asked(f"{SECRET} {number} " + "long " * 500), key(0.01 * number))
        gone = put(store, asked(SECRET))
        (tmp_path / "default" / "latents" / f"{'a' * 32}.safetensors").write_bytes(b"broken")
        store.record_uses([use("a", gone.id)])
        with pytest.warns(match="no whole Latent"):
            list(store.latents())
        assert store.forget_everything() == (2, 50, 1)
        assert list(store.latents()) == list(store.episodes()) == store.uses() == store.nearest(key()) == []
        assert bytes_hold(tmp_path, SECRET, gone.id) <= {gone.id}
        store.commit(asked("new"), key())
        put(store, asked("new"))
        assert len(store.nearest(key(), 9)) == len(near(store, key(), 9)) == 1
    assert len(list(others.latents())) == len(list(others.episodes())) == len(others.nearest(key())) == 1
    others.close()


def test_a_latent_is_forgotten_with_its_answers_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        one = put(store, asked(SECRET))
        store.record_uses([use("a", one.id, answer="Zyx answered")])
        with pytest.raises(errors.NotFoundError, match="0" * 32):
            store.forget_latents([one.id, "0" * 32])
        assert store.latent(one.id)
        assert store.forget_latents([one.id]) == (1, 0, 1)
        assert bytes_hold(tmp_path, "Zyx answered") == set()


def test_what_a_migration_and_a_repair_kept_is_forgotten_too(tmp_path: Path) -> None:
    old_journal(tmp_path / "default", SECRET, KEPT)
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        assert list((tmp_path / "default").glob("*.backup"))
        (tmp_path / "default" / "quarantine").mkdir()
        (tmp_path / "default" / "quarantine" / "episodes-3.json.1").write_text(SECRET)
        assert store.forget_problem(next(store.episodes()).problem.hash).episodes == 1
        # In the index, whose entries are ids, which this old journal took from the questions.
        assert bytes_hold(tmp_path / "default", SECRET) == set()


def test_what_a_reader_keeps_from_being_overwritten_is_overwritten_by_the_next_opening(tmp_path: Path) -> None:
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        store.commit(one := asked(SECRET), key())
        store._database.run("PRAGMA busy_timeout = 50")
        reader = sqlite3.connect(tmp_path / "default" / "journal.sqlite")
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM episodes").fetchall()
        with pytest.raises(errors.StoreWriteError, match="another process reads"):
            store.forget_problem(one.problem.hash)
        assert list(store.episodes()) == []
        reader.close()
    with Store.open(tmp_path, "default", MODEL, ENCODER):
        assert bytes_hold(tmp_path, SECRET) == set()
