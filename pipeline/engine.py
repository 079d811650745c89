"""The engine: generate -> segment -> describe -> inpaint, one step at a time, saved after every picture."""

from __future__ import annotations

import asyncio
import logging
import unicodedata
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipeline import locks, masks, provenance, uploads
from pipeline.domain import (
    MAX_PROMPT,
    MAX_SEED,
    Choices,
    ContextWriter,
    ContextWritten,
    Detection,
    Event,
    GenerationRequest,
    GeneratorInfo,
    ImageGenerator,
    InpaintRequest,
    ObjectContext,
    ObjectsFound,
    PaintParams,
    PictureSaved,
    Progress,
    ProgressCallback,
    SceneContext,
    SceneObject,
    Segmenter,
    Session,
    Stage,
    Step,
    StepDone,
    StepFailed,
    StepKind,
    StepState,
)
from pipeline.errors import ContextualDiffusionError, InvalidRequest, NotUnderstood, UnknownName
from pipeline.policy import WordPolicy
from pipeline.store import Store, derive_seed
from pipeline.styles import Style

log = logging.getLogger(__name__)

Emit = Callable[[Event], None]

IMAGE_STRENGTH = 0.6  # how far a picture may leave the attached one where a member does not say


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How the engine paints where a member says nothing."""

    width: int | None = None  # None: what the backend likes
    height: int | None = None
    negative_prompt: str = ""
    params: PaintParams = field(default_factory=PaintParams)
    class_params: Mapping[str, Mapping[str, float | int | str]] = field(default_factory=dict)
    max_depth: int = 8
    policy: WordPolicy = field(default_factory=WordPolicy)  # which words may be painted where
    styles: Mapping[str, Style] = field(default_factory=dict)


class Pipeline:
    """Take members' requests and work them off; all state is in the store.

    A request is only written down (`imagine`, `recurse`, `tweak`); `run` does the work of one step and yields
    what happens. A process that dies in `run` loses at most the picture being painted: run the step again.
    """

    def __init__(
        self,
        *,
        generator: ImageGenerator,
        segmenter: Segmenter,
        writer: ContextWriter,
        store: Store,
        options: EngineOptions,
    ) -> None:
        self.store = store
        self.options = options
        self._generator = generator
        self._segmenter = segmenter
        self._writer = writer
        self._finding = asyncio.Lock()

    @property
    def info(self) -> GeneratorInfo:
        """What the picture backend can do: a client tells members the sizes that are possible."""
        return self._generator.info

    async def choices(self) -> Choices:
        """Ask the picture backend which models and samplers it has. Raises GeneratorError."""
        return await self._generator.choices()

    async def aclose(self) -> None:
        """Close the collaborators and the store."""
        for closing in (self._generator, self._segmenter, self._writer, self.store):
            await closing.aclose()

    # -- requests ---------------------------------------------------------------------------------

    async def imagine(
        self,
        prompt: str,
        *,
        client: str,
        owner: str,
        request: str,
        seed: int | None = None,
        depth: int = 1,
        negative_prompt: str = "",
        width: int | None = None,
        height: int | None = None,
        meta: Mapping[str, str] | None = None,
        image: bytes | None = None,
        strength: float | None = None,
        guild: str = "",
        mature: bool = True,
        style: str = "",
        model: str = "",
        sampler: str = "",
    ) -> Session:
        """Write down a new session: its first picture and `depth` recursions. Raises InvalidRequest.

        `request` is the client's key: the same key is the same session. No seed = one derived from the key.
        `image` is a PNG, JPEG or WebP file that the first picture is painted over; it gives the size its
        shape where none is named. `strength` 0..1 is how far the first picture may leave it.
        `mature` is whether everyone who will see it is of age. `model` and `sampler` are the backend's names.
        """
        cleaned = clean_text(prompt)
        if not cleaned:
            raise InvalidRequest("The prompt is empty; write what the picture should show.")
        for name, text in (("prompt", cleaned), ("negative prompt", clean_text(negative_prompt))):
            if len(text) > MAX_PROMPT:
                raise InvalidRequest(
                    f"The {name} has {len(text):,} characters; at most {MAX_PROMPT:,} are possible."
                )
        await self._check_words(cleaned, guild, mature)
        if style and style not in self.options.styles:
            known = ", ".join(self.options.styles) or "none"
            raise InvalidRequest(f"There is no style of that name; there are: {known}.")
        added = self.options.styles.get(style, Style())
        if seed is not None and not 0 <= seed <= MAX_SEED:
            raise InvalidRequest(f"The seed must be a whole number from 0 to {MAX_SEED:,}.")
        if not 0 <= depth <= self.options.max_depth:
            raise InvalidRequest(f"The depth must be from 0 to {self.options.max_depth}.")
        if strength is not None and not 0 < strength <= 1:
            raise InvalidRequest("The strength must be above 0 and at most 1.")
        if strength is not None and image is None:
            raise InvalidRequest("A strength needs a picture to start from: attach one as `image`.")
        info = self._generator.info
        natural = replace(
            info,
            default_width=self.options.width or info.default_width,
            default_height=self.options.height or info.default_height,
        )
        sides = {"width": width or natural.default_width, "height": height or natural.default_height}
        picture = None if image is None else await asyncio.to_thread(uploads.decode, image)
        if picture is not None:
            wide, high = uploads.fit_sides(
                picture.shape[1], picture.shape[0], natural, width=width, height=height
            )
            sides = {"width": width or wide, "height": height or high}
        for name, side in sides.items():
            if not info.min_side <= side <= info.max_side:
                raise InvalidRequest(
                    f"The {name} must be from {info.min_side} to {info.max_side} pixels; {side} is not."
                )
        sides = {name: side // info.multiple * info.multiple for name, side in sides.items()}
        source = None
        if picture is not None:
            source = await asyncio.to_thread(uploads.cut_to, picture, sides["width"], sides["height"])
        return await self.store.create_session(
            client=client,
            owner=owner,
            request=request,
            prompt=cleaned,
            negative_prompt=_join(clean_text(negative_prompt), added.negative, self.options.negative_prompt),
            seed=derive_seed(client, request) if seed is None else seed,
            width=sides["width"],
            height=sides["height"],
            steps=self.options.params.steps,
            guidance=self.options.params.guidance,
            depth=depth,
            meta=meta,
            source=source,
            strength=IMAGE_STRENGTH if strength is None else strength,
            guild=guild,
            mature=mature,
            style=style,
            style_words=added.prompt,
            model=model,
            sampler=sampler,
        )

    async def recurse(self, step_id: int, *, asked_by: str, origin: str) -> Step:
        """Write down one more recursion from a step's picture. Raises InvalidRequest, NotFound."""
        parent = await self.store.step(step_id)
        if parent.depth >= self.options.max_depth:
            raise InvalidRequest(
                f"This picture is {parent.depth} recursions deep; deeper than "
                f"{self.options.max_depth} is not possible here."
            )
        return await self.store.add_step(
            parent_id=step_id, kind=StepKind.RECURSE, asked_by=asked_by, origin=origin
        )

    async def tweak(self, step_id: int, reply: str, *, asked_by: str, origin: str) -> Step:
        """Write down a change of the objects that `reply` means. Raises InvalidRequest, NotFound."""
        words = clean_text(reply)
        if not words:
            raise InvalidRequest("The reply is empty; write for example `2: red leather`.")
        if len(words) > MAX_PROMPT:
            raise InvalidRequest(f"The reply is longer than {MAX_PROMPT:,} characters.")
        session = await self.store.session((await self.store.step(step_id)).session_id)
        await self._check_words(words, session.guild, session.mature)
        return await self.store.add_step(
            parent_id=step_id, kind=StepKind.TWEAK, asked_by=asked_by, origin=origin, request=words
        )

    async def again(self, step_id: int, *, asked_by: str, origin: str) -> Step:
        """Write down a step like this one with another seed: same parent, same words. Raises NotFound."""
        return await self.store.add_sibling(step_id, asked_by=asked_by, origin=origin)

    # -- objects of a picture ---------------------------------------------------------------------

    async def objects(self, step_id: int) -> tuple[SceneObject, ...]:
        """Return the numbered objects of a done step; those of a first picture are found now, and saved.

        Raises InvalidRequest for a picture without any, NotFound.
        """
        if objects := await self.store.objects(step_id):
            return objects
        async with self._finding:  # found twice at once, the later would undo what was said of the earlier
            if objects := await self.store.objects(step_id):
                return objects
            step, png = await self.store.step(step_id), await self.store.picture(step_id)
            if step.state is not StepState.DONE or png is None:
                raise InvalidRequest("That picture is not finished yet; ask again when it is there.")
            found = await self._find_in(step, png)
            objects = tuple(replace(item, repaint=False) for item in found)
            await self.store.save_objects(step_id, objects)
            return objects

    async def kept(self, step_id: int) -> tuple[SceneObject, ...]:
        """Return what the steps below this one keep as it is: its own objects, or those of steps above it."""
        path = await self.store.path(step_id)
        return locks.kept_after(await self.store.wishes([step.id for step in path]))

    async def kept_numbers(self, step_id: int) -> frozenset[int]:
        """Return which of a picture's objects the steps below it keep. Raises InvalidRequest, NotFound."""
        objects, kept = await self.objects(step_id), await self.kept(step_id)
        known = {item.number for item in objects}
        fresh = [replace(item, locked=False) for item in objects]
        among = await asyncio.to_thread(locks.lock, fresh, kept)
        return frozenset(item.number for item in among if item.locked and item.number in known)

    async def keep(self, step_id: int, numbers: Collection[int]) -> tuple[SceneObject, ...]:
        """Keep these objects of a picture in all that will be made from it, and no others; return them.

        Raises NotFound.
        """
        *above, step = await self.store.path(step_id)
        inherited = locks.kept_after(await self.store.wishes([one.id for one in above]))
        wishes: dict[int, bool | None] = {}
        for item in await self.store.objects(step.id):
            already = any(locks.same(one, item) for one in inherited)
            wanted = item.number in numbers
            wishes[item.number] = None if wanted == already else wanted
        await self.store.set_kept(step.id, wishes)
        return tuple(item for item in await self.store.objects(step.id) if item.number in numbers)

    async def _check_words(self, text: str, guild: str, mature: bool) -> None:
        wanted = await self.store.preferences("server", guild) if guild else {}
        self.options.policy.check(text, mature=mature, more=wanted.get("words", "").split(","))

    async def retry(self, step_id: int) -> bool:
        """Queue a failed step again, with the steps that were cancelled below it; whether there was one."""
        return await self.store.retry(step_id)

    async def replay(self, session_id: int, *, client: str, request: str) -> Session:
        """Write down a copy of a session that paints every done step again from what was recorded."""
        return await self.store.copy_session(session_id, client=client, request=request)

    # -- work -------------------------------------------------------------------------------------

    async def run(self, step_id: int) -> AsyncGenerator[Event, None]:
        """Do a step's work and yield its events; the last is StepDone or StepFailed.

        Nothing that was paid for is done again: what the step has saved is where it goes on. Leaving the
        iteration early cancels the work and leaves the step as it is.
        """
        events: asyncio.Queue[Event | None] = asyncio.Queue()
        work = asyncio.create_task(self._run(step_id, events.put_nowait), name=f"step-{step_id}")
        work.add_done_callback(lambda _: events.put_nowait(None))
        try:
            while (event := await events.get()) is not None:
                yield event
        finally:
            work.cancel()
            await asyncio.wait([work])
        work.result()

    async def _run(self, step_id: int, emit: Emit) -> None:
        step = await self.store.begin(step_id)
        if step.state is not StepState.RUNNING:
            return
        session = await self.store.session(step.session_id)
        try:
            if step.kind is StepKind.GENERATE:
                await self._generate(session, step, emit)
            else:
                await self._repaint(session, step, emit)
        except ContextualDiffusionError as error:
            log.warning("step %s failed: %s", step_id, error, exc_info=error.__cause__)
            emit(StepFailed(step_id, str(error), await self.store.fail(step_id, str(error))))
        except Exception:
            log.exception("step %s failed", step_id)
            message = f"Something broke that should not have; the log says more under step {step_id}."
            emit(StepFailed(step_id, message, await self.store.fail(step_id, message)))
        else:
            emit(StepDone(step_id))

    async def _generate(self, session: Session, step: Step, emit: Emit) -> None:
        request = self._request(session, step)
        if session.source is not None:
            request = replace(
                request, image=await self.store.source(session.id), strength=session.source.strength
            )
        emit(Progress(step.id, "paint", 0, 1, 0.0))
        image = await self._generator.generate(request, _progress(emit, step.id, "paint", 0, 1, 0.0, 1.0))
        texts = provenance.describe(
            session,
            step,
            (),
            request,
            story="",
            source="",
            picture_model=image.model,
            segmentation_model="",
        )
        png = await asyncio.to_thread(_retext, image.png, texts)
        await self.store.finish(step.id, png=png, model=image.model, notes=image.notes)
        emit(PictureSaved(step.id, png, 1, 1))

    async def _repaint(self, session: Session, step: Step, emit: Emit) -> None:
        if step.parent_id is None:
            raise InvalidRequest("This step has no picture to start from.")
        parent = await self.store.step(step.parent_id)
        parent_png = await self.store.picture(parent.id)
        if parent.state is not StepState.DONE or parent_png is None:
            raise InvalidRequest("The picture before this one was not finished; react to an earlier picture.")
        objects = await self._find(step, parent, parent_png, emit)
        story, source = step.story, step.source
        if not source:
            context, objects = await self._describe(session, step, parent, parent_png, objects, emit)
            story, source = context.story, context.source
        png = await self.store.picture(step.id) or parent_png
        picture = await asyncio.to_thread(provenance.decode, png)
        targets = [item for item in objects if item.repaint]
        protect = await asyncio.to_thread(locks.protected, objects)
        notes, model = list(step.notes), step.model
        for index, item in enumerate(targets):
            if item.painted:
                continue
            share = 0.2 + 0.8 * index / len(targets)
            emit(Progress(step.id, "repaint", index, len(targets), share, item.name))
            watch = _progress(
                emit, step.id, "repaint", index, len(targets), share, 0.8 / len(targets), item.name
            )
            picture, image_notes, painter = await self._inpaint(session, picture, item, protect, watch)
            model = painter or model
            notes += [note for note in image_notes if note not in notes]
            png = await asyncio.to_thread(provenance.encode, picture)
            await self.store.save_painted(step.id, item.number, png, model=model, notes=notes)
            emit(PictureSaved(step.id, png, index + 1, len(targets)))
        texts = provenance.describe(
            session,
            step,
            objects,
            self._request(session, step),
            story=story,
            source=source,
            picture_model=model,
            segmentation_model=self._segmenter.weights_at(parent.depth),
        )
        png = await asyncio.to_thread(provenance.encode, picture, texts)
        await self.store.finish(step.id, png=png, model=model, notes=notes)

    async def _find(self, step: Step, parent: Step, parent_png: bytes, emit: Emit) -> tuple[SceneObject, ...]:
        objects = await self.store.objects(step.id)
        if not step.source:  # not described yet: what is kept may have changed since a first attempt
            if not objects:
                emit(Progress(step.id, "find", 0, 1, 0.0))
                objects = await self.store.objects(parent.id) if step.kind is StepKind.TWEAK else ()
            if not objects:
                objects = await self._find_in(parent, parent_png)
            fresh = [replace(item, repaint=True, painted=False, locked=False, kept=None) for item in objects]
            objects = await asyncio.to_thread(locks.lock, fresh, await self.kept(parent.id))
            await self.store.save_objects(step.id, objects)
        emit(ObjectsFound(step.id, objects))
        return objects

    async def _find_in(self, step: Step, png: bytes) -> tuple[SceneObject, ...]:
        found = await self._segmenter.segment(png, depth=step.depth)
        if not found:
            raise InvalidRequest(
                "No objects were found in this picture, so there is nothing to make richer; "
                "try another picture, prompt or seed."
            )
        return tuple(SceneObject(number, item, item.label) for number, item in enumerate(found, start=1))

    async def _describe(
        self,
        session: Session,
        step: Step,
        parent: Step,
        parent_png: bytes,
        objects: Sequence[SceneObject],
        emit: Emit,
    ) -> tuple[SceneContext, tuple[SceneObject, ...]]:
        if all(item.locked for item in objects):
            raise InvalidRequest(
                "All that was found in this picture is kept as it is; release something (🔒)."
            )
        emit(Progress(step.id, "describe", 0, 1, 0.1))
        if step.kind is StepKind.TWEAK:
            objects, changed = await self._revise(session, step, parent, parent_png, objects, emit)
            _check_not_locked(objects, changed)
            # A source must be there: it is how a step that goes on knows that it was described.
            context = SceneContext(parent.story, changed, "a member")
        else:
            context = await self._writer.describe(
                session.prompt, [item.detection for item in objects], picture=parent_png, seed=step.seed
            )
        by_number = {entry.number: entry for entry in context.objects}
        described = tuple(self._with_context(step, item, by_number.get(item.number)) for item in objects)
        await self.store.save_context(step.id, context, described)
        emit(ContextWritten(step.id, replace(context, objects=tuple(item.context for item in described))))
        return context, described

    async def _revise(
        self,
        session: Session,
        step: Step,
        parent: Step,
        parent_png: bytes,
        objects: Sequence[SceneObject],
        emit: Emit,
    ) -> tuple[Sequence[SceneObject], tuple[ObjectContext, ...]]:
        """Change what a reply means: one of these objects, or what only other depths' weights find."""

        async def ask(things: Sequence[SceneObject]) -> tuple[ObjectContext, ...]:
            contexts = [item.context for item in things]
            return await self._writer.revise(
                step.request, contexts, prompt=session.prompt, story=parent.story, seed=step.seed
            )

        try:
            return objects, await ask(objects)
        except UnknownName as error:
            among = await self._find_more(parent, parent_png, objects)
            try:
                changed = await ask(among)
            except NotUnderstood:
                raise error from None  # it lists what members can see
        await self.store.save_objects(step.id, among)
        emit(ObjectsFound(step.id, among))
        return among, changed

    async def _find_more(
        self, step: Step, png: bytes, objects: Sequence[SceneObject]
    ) -> tuple[SceneObject, ...]:
        """Put what any depth's weights find in a step's picture behind its known objects."""
        depths = {self._segmenter.weights_at(depth): depth for depth in range(self.options.max_depth, -1, -1)}
        found = [await self._segmenter.segment(png, depth=depth) for depth in sorted(depths.values())]
        among = await asyncio.to_thread(_with_more, objects, [one for some in found for one in some])
        return await asyncio.to_thread(locks.lock, among, await self.kept(step.id))

    def _with_context(self, step: Step, item: SceneObject, context: ObjectContext | None) -> SceneObject:
        if context is None or item.locked:
            return replace(item, repaint=False)
        return replace(
            item,
            name=context.name,
            tags=context.tags,
            seed=derive_seed(step.seed, item.number),
            params=self.params_for(item.detection),
            repaint=True,
        )

    def params_for(self, detection: Detection) -> PaintParams:
        """Return the paint parameters of an object: the options', with its class's own over them."""
        return replace(self.options.params, **self.options.class_params.get(detection.label, {}))  # type: ignore[arg-type]

    async def _inpaint(
        self,
        session: Session,
        picture: masks.Picture,
        item: SceneObject,
        protect: masks.Mask | None,
        watch: ProgressCallback,
    ) -> tuple[masks.Picture, tuple[str, ...], str]:
        params, info = item.params, self._generator.info
        patch = await asyncio.to_thread(
            masks.plan_patch,
            item.detection.mask,
            grow=params.grow,
            blur=params.blur,
            padding=params.padding,
            native_size=info.native_size,
            multiple=info.multiple,
            protect=protect,
        )
        if not patch.mask.any():  # all of it is kept as it is
            return picture, (), ""
        crop, mask = await asyncio.to_thread(masks.cut, picture, patch)
        words = [params.prompt_prefix, *item.tags, item.detection.label, session.style_words]
        image = await self._generator.inpaint(
            InpaintRequest(
                image=await asyncio.to_thread(provenance.encode, crop),
                mask=mask,
                prompt=", ".join(filter(None, words)),
                negative_prompt=_join(session.negative_prompt, params.negative_prompt),
                seed=item.seed,
                strength=params.strength,
                steps=params.steps,
                guidance=params.guidance,
                model=session.model,
                sampler=session.sampler,
            ),
            watch,
        )
        painted = await asyncio.to_thread(provenance.decode, image.png)
        return await asyncio.to_thread(masks.paste, picture, patch, painted), image.notes, image.model

    def _request(self, session: Session, step: Step) -> GenerationRequest:
        return GenerationRequest(
            prompt=_join(session.prompt, session.style_words),
            negative_prompt=session.negative_prompt,
            seed=step.seed,
            width=session.width,
            height=session.height,
            steps=session.steps,
            guidance=session.guidance,
            model=session.model,
            sampler=session.sampler,
        )


def clean_text(text: str) -> str:
    """Drop what no prompt needs and a screen or database may choke on; keep every script and emoji.

    Control characters and lone surrogates go, and so do the marks that turn the direction of what follows.
    """
    kept = (
        " " if unicodedata.category(char) == "Cc" else char
        for char in text
        if unicodedata.category(char) != "Cs"
        and char not in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    )
    return " ".join("".join(kept).split())


def _with_more(objects: Sequence[SceneObject], found: Sequence[Detection]) -> list[SceneObject]:
    """Put detections behind objects, but for those that are there already."""
    among = list(objects)
    for detection in found:
        item = SceneObject(len(among) + 1, detection, detection.label)
        if not any(locks.overlap(item, one) >= locks.SAME for one in among):
            among.append(item)
    return among


def _check_not_locked(objects: Sequence[SceneObject], changed: Sequence[ObjectContext]) -> None:
    """Raise InvalidRequest if a reply means an object that is kept."""
    locked = {item.number: item for item in objects if item.locked}
    for context in changed:
        if context.number in locked:
            raise InvalidRequest(
                f"Object {context.number} ({locked[context.number].name}) is kept as it is here; "
                "release it first (🔒)."
            )


def _join(*texts: str) -> str:
    return ", ".join(filter(None, texts))


def _retext(png: bytes, texts: dict[str, str]) -> bytes:
    return provenance.encode(provenance.decode(png), texts)


def _progress(
    emit: Emit, step_id: int, stage: Stage, done: int, total: int, start: float, span: float, label: str = ""
) -> ProgressCallback:
    def callback(share: float, preview: bytes | None) -> None:
        emit(Progress(step_id, stage, done, total, start + span * share, label, preview))

    return callback
