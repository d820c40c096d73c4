"""`Guard`: from a client's request to its answer, by way of the detector, the client's ledger and the policy."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from honeykeras.errors import InvalidArgumentError
from honeykeras.evidence import Observations, Rules
from honeykeras.export.signatures import DEFAULT, EXTENDED
from honeykeras.gateway import reactions
from honeykeras.gateway.backend import Answer, Backend, Model, State
from honeykeras.gateway.failures import RequestError
from honeykeras.gateway.policy import Policy
from honeykeras.gateway.reactions import NOTHING, Reaction
from honeykeras.gateway.records import Record, Watcher
from honeykeras.gateway.standing import Standing
from honeykeras.gateway.stores import Store
from honeykeras.gateway.tensors import Signature
from honeykeras.gateway.twins import public, twin

_CHANGES_SCORES = ("mislead", "decoy", "reject")


class _Judged(NamedTuple):
    """What came of a request's inputs for the client."""

    reactions: list[Reaction]
    labels: list[int | None]
    queries: int
    statistic: float | None
    bound: float | None
    accusation: bool
    accused: bool


class Guard:
    """Answers clients as a policy says, from what an artifact tells its operator.

    Clients have the signatures that TensorFlow Serving would show them; the operator's are hidden. Each request is put
    to the operator's twin of the signature that it names, which also tells whether an input is flagged and what
    evidence is made of. The client's ledger is kept, the policy decides, and the verdict is stripped.

    Attributes:
        backend: Where answers come from.
        policy: What is done. It may be replaced at any time.
        store: Where it is kept how clients stand.
        under_way: How many requests are being answered.
    """

    def __init__(
        self,
        backend: Backend,
        policy: Policy,
        store: Store,
        watchers: Iterable[Watcher] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Makes a guard; the backend is started by who closes it.

        Args:
            backend: Where answers come from.
            policy: What is done.
            store: Where it is kept how clients stand.
            watchers: Who is told what happened.
            clock: The time, in seconds since 1970.
        """
        self.backend, self.policy, self.store = backend, policy, store
        self.under_way = 0
        self._watchers, self._clock = tuple(watchers), clock

    async def check(self, models: Sequence[str]) -> None:
        """Looks whether models can be guarded.

        Raises:
            InvalidArgumentError: If one tells its operator nothing, or has a signature whose answers cannot be changed
                as the policy says.
            RequestError: If a model does not answer.
        """
        for name in models:
            found = await self.backend.signatures(Model(name))
            if EXTENDED not in found:
                raise InvalidArgumentError(
                    f"The model {name!r} must be an artifact for a trusted host, which has a detector. Received: "
                    f"signatures {sorted(found)}. Export it with `--detector`."
                )
            changing = {self.policy.flag.action, self.policy.accusation.action}.intersection(_CHANGES_SCORES)
            for known_as, signature in public(found).items():
                if changing and reactions.scores_of(signature) is None:
                    raise InvalidArgumentError(
                        f"The signature {known_as!r} of {name!r} must give one tensor of scores for the policy to "
                        f"change ({', '.join(sorted(changing))}). Received: {sorted(signature.outputs)}. Choose other "
                        "actions: observe, slow or ban."
                    )

    async def signatures(self, model: Model) -> dict[str, Signature]:
        """The signatures that clients may know of."""
        return public(await self.backend.signatures(model))

    async def states(self, model: Model) -> list[State]:
        """How the versions of a model stand."""
        return await self.backend.states(model)

    async def ask(
        self, model: Model, name: str, inputs: Mapping[str, np.ndarray], client: str, chosen: Sequence[str] = ()
    ) -> Answer:
        """Answers a client.

        Args:
            model: Which model is asked.
            name: Which signature; the default one if it is empty.
            inputs: Arrays by name.
            client: Who asks.
            chosen: Which outputs are wanted. Defaults to all.

        Raises:
            RequestError: If the client is told why it gets no answer.
        """
        begun = time.perf_counter()
        name = name or DEFAULT
        self.under_way += 1
        try:
            answer, record = await asyncio.wait_for(
                self._ask(model, name, inputs, client, chosen, begun), self.policy.limits.deadline + self._longest_delay
            )
        except (RequestError, asyncio.TimeoutError) as error:
            refused = (
                error
                if isinstance(error, RequestError)
                else RequestError("DEADLINE_EXCEEDED", "The model took too long to answer")
            )
            for watcher in self._watchers:
                watcher.refused(model.name, name, refused.code, time.perf_counter() - begun)
            raise refused from None
        finally:
            self.under_way -= 1
        for watcher in self._watchers:
            watcher.answered(record)
        return answer

    @property
    def _longest_delay(self) -> float:
        return max(each.delay if each.action == "slow" else 0.0 for each in (self.policy.flag, self.policy.accusation))

    async def _ask(
        self,
        model: Model,
        name: str,
        inputs: Mapping[str, np.ndarray],
        client: str,
        chosen: Sequence[str],
        begun: float,
    ) -> tuple[Answer, Record]:
        policy, now = self.policy, self._clock()
        standing = await self.store.look(client)
        if standing is not None:
            _check_ban(policy, standing, now)
        found = await self.backend.signatures(model)
        signature = public(found).get(name)
        if signature is None:
            raise RequestError("INVALID_ARGUMENT", f'Serving signature name: "{name}" not found in signature def')
        signature.check(inputs)
        for each in chosen:
            if each not in signature.outputs:
                raise RequestError(
                    "INVALID_ARGUMENT",
                    f"output tensor alias not found in signature: {each} Outputs expected to be in the set "
                    f"{{{','.join(signature.outputs)}}}.",
                )
        answer = await self.backend.run(model, twin(name, found), inputs)
        _check_answer(answer, signature, inputs)
        scores_name = reactions.scores_of(signature)
        scores = None if scores_name is None else answer.outputs[scores_name]
        judged = await self._judge(client, model, answer, scores, policy, now)
        told = scores
        if scores is not None and not policy.shadow:
            told = reactions.altered(scores, [each.action for each in judged.reactions], judged.labels)
        outputs = reactions.answer(answer.outputs, signature, scores_name, told)
        if chosen:
            outputs = {each: outputs[each] for each in chosen}
        if not policy.shadow:
            await self._delay(policy, judged.reactions)
        record = Record(
            time=now,
            client=client,
            model=model,
            version=answer.version,
            signature=name,
            inputs=inputs,
            outputs=outputs,
            scores=answer.outputs["score"],
            flags=answer.outputs["flag"],
            reactions=judged.reactions,
            shadow=policy.shadow,
            policy=policy.version,
            queries=judged.queries,
            statistic=judged.statistic,
            bound=judged.bound,
            accusation=judged.accusation,
            accused=judged.accused,
            seconds=time.perf_counter() - begun,
        )
        return Answer(answer.version, outputs), record

    async def _judge(
        self, client: str, model: Model, answer: Answer, scores: np.ndarray | None, policy: Policy, now: float
    ) -> _Judged:
        flags = np.asarray(answer.outputs["flag"], bool)
        seen, rules = None, None
        if "evidence_views" in answer.outputs:
            seen = Observations.of_answers(answer.outputs)
            rules = Rules.of_answers(answer.outputs, alpha=policy.evidence.alpha)
        # Of another model or version another key is the measure.
        key = f"{model.name}/{answer.version}"
        own = None if scores is None else reactions.labels(scores)

        def change(standing: Standing) -> _Judged:
            # Another replica may have banned it.
            _check_ban(policy, standing, now)
            standing.begin_anew_after(policy.accusation.duration, now)
            accusation = standing.add(key, seen, flags, rules, now)
            reacting = _reactions(policy, client, standing, flags)
            labels = _labels(standing, reacting, own, scores, seen, rules, policy.shadow)
            _ban(policy, standing, reacting, now)
            evidence = standing.evidence
            return _Judged(
                reacting,
                labels,
                standing.queries,
                None if evidence is None else evidence.statistic,
                None if evidence is None else evidence.bound,
                accusation,
                standing.accused,
            )

        return await self.store.update(client, change)

    @staticmethod
    async def _delay(policy: Policy, reacting: Sequence[Reaction]) -> None:
        delays = [
            (policy.flag if each.why == "flag" else policy.accusation).delay
            for each in reacting
            if each.action == "slow"
        ]
        if delays:
            await asyncio.sleep(max(delays))


def _reactions(policy: Policy, client: str, standing: Standing, flags: np.ndarray) -> list[Reaction]:
    if client in policy.clients.observed_only:
        return [NOTHING] * len(flags)
    if standing.accused:
        return [Reaction(policy.accusation.action, "accusation")] * len(flags)
    return [Reaction(policy.flag.action, "flag") if flag else NOTHING for flag in flags]


def _check_ban(policy: Policy, standing: Standing, now: float) -> None:
    if standing.banned_until > now and not policy.shadow:
        raise RequestError("PERMISSION_DENIED", "The client may not use this model")


def _ban(policy: Policy, standing: Standing, reacting: Sequence[Reaction], now: float) -> None:
    for each in reacting:
        if each.action == "ban" and not policy.shadow:
            duration = policy.flag.duration if each.why == "flag" else policy.accusation.duration
            standing.banned_until = max(standing.banned_until, now + duration)


def _labels(
    standing: Standing,
    reacting: Sequence[Reaction],
    own: np.ndarray | None,
    scores: np.ndarray | None,
    seen: Observations | None,
    rules: Rules | None,
    shadow: bool,
) -> list[int | None]:
    """The class that each answer is to tell, where that is another than the model's; all are remembered."""
    if own is None or scores is None:
        return [None] * len(reacting)
    labels: list[int | None] = []
    for row, reaction in enumerate(reacting):
        label = None
        if reaction.action == "decoy" and not shadow:
            known = None
            if seen is not None and rules is not None:
                known = standing.told.label_of(seen.codes[row], rules.nearness)
            label = int(np.argsort(-scores[row], kind="stable")[1]) if known is None else known
        if seen is not None:
            standing.told.remember(seen.codes[row], int(own[row]) if label is None else label)
        labels.append(label)
    return labels


def _check_answer(answer: Answer, signature: Signature, inputs: Mapping[str, np.ndarray]) -> None:
    """Raises `RequestError` if there is not an answer, and a verdict, for each input."""
    count = max(len(value) if value.ndim else 1 for value in inputs.values())
    rows = {name: value.shape[:1] for name, value in answer.outputs.items()}
    if {*signature.outputs, "score", "flag"} - rows.keys() or set(rows.values()) != {(count,)}:
        raise RequestError("INTERNAL", "The model's answer is not what its signature says")
