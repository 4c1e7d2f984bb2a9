"""Question in, answer out: the using half of `LatentMemory`.

    Problem → key → Hit → one or two answers → the verifier, where they differ → Answer

Which of these a problem goes through is its route (arXiv 2606.17803): `RouteConfig.mode`, and always answered with and
without for a Latent on probation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from latent_memory_plugin.answering.find import retrieve
from latent_memory_plugin.answering.verify import Dispute, Preference, Score, Verifier, make_verifier
from latent_memory_plugin.answers.judge import Judge
from latent_memory_plugin.answers.vote import vote
from latent_memory_plugin.config import Config, SamplingConfig
from latent_memory_plugin.engines.base import Conversation, Model
from latent_memory_plugin.errors import IndexUnavailableError, NotFoundError, WrongModelError
from latent_memory_plugin.forms import FORMS, Loaded, entry
from latent_memory_plugin.records import USABLE, Answer, Hit, Problem, Rollout, Usage, Use
from latent_memory_plugin.store.base import AnyStore

if TYPE_CHECKING:
    from latent_memory_plugin.keys import Encoder

NO_MEMORY = Hit(latent_id=None, similarity=None, reason="Memory is off.")


class Route(NamedTuple):
    """How one problem is answered."""

    problem: Problem
    """What is asked."""
    hit: Hit
    """The Latent that is read, or why none."""
    latent: Loaded | None
    """Its tensors; None where none is read."""
    compared: bool
    """True where it is answered with the Latent and without it."""
    conversation: Conversation
    """What the model reads: the question alone, or the chat it stands in."""

    @property
    def readings(self) -> list[Loaded | None]:
        """The Latent of each answer to sample, the plain model's first."""
        return [None, self.latent] if self.compared else [self.latent]


class Side(NamedTuple):
    """The answer of one reading."""

    rollouts: tuple[Rollout, ...]
    """Its completions, answers extracted."""
    answer: str | None
    """The answer that most of them give."""
    shown: Rollout
    """The first of them that gives it."""


class Choice(NamedTuple):
    """The answer that is returned."""

    number: int
    """Of the sides."""
    reason: str
    """Why, in words."""
    verified_tokens: int = 0
    """Tokens the verifier sampled."""


@dataclass(frozen=True)
class Asker:
    """Answers problems with the Latents that apply."""

    model: Model
    """The frozen model."""
    store: AnyStore
    """The namespace's store."""
    encoder: "Encoder"
    """Makes the keys of the store."""
    config: Config
    """When a Latent applies, and what becomes of the answer with it."""
    judge: Judge
    """Completion text → answer, and whether two answers are the same."""
    enabled: bool = True
    """False reads no Latent at all."""
    verifier: Verifier | Score | None = None
    """Takes the place of the verifier that the config names."""

    def ask(self, problems: Sequence[Problem], n: int, sampling: SamplingConfig, seed: int) -> list[Answer]:
        """The answer to each problem from `n` completions with its Latent or without, or from `n` of both.

        What is sampled without a Latent is what the plain model gives for that seed. Each answer sampled with a Latent
        is recorded as a use of it, also where the plain model's was returned: the record is of the Latent's answers.
        """
        hits = self.find(problems)
        routes = [self.route(one, hit, one.question) for one, hit in zip(problems, hits, strict=True)]
        taken = self.conclude(routes, self.sides(routes, n, sampling, seed), sampling, seed)
        if uses := [use for _, used in taken for use in used]:
            self.store.record_uses(uses)
        return [answer for answer, _ in taken]

    def find(self, problems: Sequence[Problem]) -> list[Hit]:
        """The Latent to read for each problem, or why none."""
        if not self.enabled:
            return [NO_MEMORY for _ in problems]
        keys = self.encoder.keys([problem.question for problem in problems])  # (N, D)
        try:
            return [retrieve(self.store, key, self.config.retrieve, self.config.route.mode) for key in keys]
        except IndexUnavailableError as exc:  # the plain model answers, and the answer says why
            return [Hit(latent_id=None, similarity=None, reason=str(exc)) for _ in problems]

    def conclude(
        self, routes: Sequence[Route], sides: Sequence[Sequence[Side]], sampling: SamplingConfig, seed: int
    ) -> list[tuple[Answer, list[Use]]]:
        """The answer to each problem from what was sampled on its route, and its uses of a Latent, not yet recorded."""
        verifier = make_verifier(self.model, self.config.route, self.judge, sampling, seed, self.verifier)
        rows = list(zip(routes, sides, choose(routes, sides, verifier, self.judge), strict=True))
        answers = [self._answer(route, answered, choice, seed) for route, answered, choice in rows]
        return [(answer, self._uses(answer, *row)) for answer, row in zip(answers, rows, strict=True)]

    def route(self, problem: Problem, hit: Hit, conversation: Conversation) -> Route:
        """The route of a hit; without its Latent where another thread has forgotten it or taken it back meanwhile."""
        if hit.latent_id is None:
            return Route(problem, hit, None, False, conversation)
        try:
            state: str = self.store.standing(hit.latent_id).state
            latent = self._loaded(hit.latent_id)
        except NotFoundError:
            state, latent = "forgotten", None
        except WrongModelError as exc:
            gone = Hit(latent_id=None, similarity=hit.similarity, reason=str(exc))
            return Route(problem, gone, None, False, conversation)
        if state not in USABLE:
            reason = f"Latent {hit.latent_id} has just been {state}."
            gone = Hit(latent_id=None, similarity=hit.similarity, reason=reason)
            return Route(problem, gone, None, False, conversation)
        if state == "probation":
            hit = hit.model_copy(update={"reason": f"{hit.reason} It is on probation."})
        compared = state == "probation" or self.config.route.mode == "agree"
        return Route(problem, hit, latent, compared, conversation)

    def _loaded(self, latent_id: str) -> Loaded:
        """A stored Latent as the model reads it. Raises NotFoundError, WrongModelError where it is another model's."""
        loaded = Loaded.from_arrays(self.store.latent(latent_id).form, self.store.tensors(latent_id))
        entry(loaded, self.model)
        return loaded

    def sides(self, routes: Sequence[Route], n: int, sampling: SamplingConfig, seed: int) -> list[list[Side]]:
        """The sides of each route, all of them sampled together."""
        conversations = [route.conversation for route in routes for _ in route.readings]
        latents = [latent for route in routes for latent in route.readings]
        groups = iter(self.model.sample(conversations, latents, n, sampling, seed))
        return [[self.side(next(groups)) for _ in route.readings] for route in routes]

    def side(self, group: Sequence[Rollout]) -> Side:
        """The answer of one reading from its completions."""
        read = tuple(rollout.model_copy(update={"answer": self.judge.answer(rollout)}) for rollout in group)
        winner = vote([rollout.answer for rollout in read], equal=self.judge.equal).answer
        shown = next((rollout for rollout in read if self.judge.agree(rollout.answer, winner)), read[0])
        return Side(read, winner, shown)

    def _answer(self, route: Route, sides: Sequence[Side], choice: Choice, seed: int) -> Answer:
        given = sides[choice.number]
        sampled = sum(len(rollout.token_ids) for side in sides for rollout in side.rollouts)
        return Answer(
            question=route.problem.question,
            text=given.shown.text,
            answer=given.shown.answer,
            latent_ids=() if route.readings[choice.number] is None else (str(route.hit.latent_id),),
            similarity=route.hit.similarity,
            reason=choice.reason,
            usage=Usage(
                prompt_tokens=len(self.model.prompt_ids(route.conversation)),
                latent_tokens=_latent_tokens(route.latent),
                completion_tokens=sampled + choice.verified_tokens,
            ),
            rollouts=given.rollouts,
            seed=seed,
        )

    def _uses(self, answer: Answer, route: Route, sides: Sequence[Side], choice: Choice) -> list[Use]:
        """The use of the Latent that was read, if any: its own answer, whichever was returned."""
        if route.hit.latent_id is None:
            return []
        shown = sides[-1].shown
        return [
            Use(
                answer_id=answer.id,
                latent_id=route.hit.latent_id,
                problem_hash=route.problem.hash,
                answer=shown.answer,
                text=shown.text if self.judge.replaces else None,
                returned=choice.number == len(sides) - 1,
            )
        ]


def _latent_tokens(latent: Loaded | None) -> int:
    return 0 if latent is None else FORMS.get(latent.form).latent_tokens(latent.tensors)


def choose(routes: Sequence[Route], sides: Sequence[Sequence[Side]], verifier: Verifier, judge: Judge) -> list[Choice]:
    """Which side of each route is returned; those that differ are put to the verifier together."""
    settled = [_settled(route, answered, judge) for route, answered in zip(routes, sides, strict=True)]
    split = [number for number, choice in enumerate(settled) if choice is None]
    disputes = [_dispute(routes[number], sides[number]) for number in split]
    preferences = verifier.prefer(disputes) if disputes else []
    judged = {
        number: _judged(routes[number], sides[number], preference, verifier.name)
        for number, preference in zip(split, preferences, strict=True)
    }
    return [choice or judged[number] for number, choice in enumerate(settled)]


def _dispute(route: Route, sides: Sequence[Side]) -> Dispute:
    return Dispute(route.problem.question, tuple(side.shown for side in sides), route.conversation)


def _settled(route: Route, sides: Sequence[Side], judge: Judge) -> Choice | None:
    """The choice where nothing is in dispute. An answer is better than none."""
    if not route.compared:
        return Choice(0, route.hit.reason)
    plain, read = sides
    if judge.agree(plain.answer, read.answer) or plain.shown.text == read.shown.text:
        return Choice(1, f"{route.hit.reason} The plain model gives the same answer.")
    if plain.answer is None and read.answer is not None:
        return Choice(1, f"{route.hit.reason} The plain model gives no answer.")
    if read.answer is None and plain.answer is not None:
        return Choice(0, f"{route.hit.reason} It gives no answer, the plain model does.")
    return None


def _judged(route: Route, sides: Sequence[Side], preference: Preference, verifier: str) -> Choice:
    chosen = preference.chosen
    (plain, read), (without, with_latent) = [side.answer for side in sides], preference.scores
    if chosen:
        found = f"The plain model answers {plain!r:.60}; the verifier {verifier} prefers {read!r:.60}"
        reason = f"{found}, {with_latent:.2f} to {without:.2f}."
    else:
        found = f"It answers {read!r:.60}; the verifier {verifier} prefers the plain model's {plain!r:.60}"
        reason = f"{found}, {without:.2f} to {with_latent:.2f}."
    return Choice(chosen, f"{route.hit.reason} {reason}", preference.sampled_tokens)
