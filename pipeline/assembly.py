"""Open a pipeline as the settings say: the only place that names concrete classes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from pipeline.context import EmbeddedContextWriter, OpenAIContextWriter, TemplateContextWriter
from pipeline.domain import ContextWriter, ImageGenerator, Limits, PaintParams, Vocabulary
from pipeline.engine import EngineOptions, Pipeline
from pipeline.errors import ConfigurationError
from pipeline.executors import make_executor
from pipeline.generators.automatic1111 import Automatic1111
from pipeline.generators.embedded import Embedded
from pipeline.language_server import LanguageServer, find_model
from pipeline.policy import load_policy
from pipeline.segmentation import MaskRCNNSegmenter, SegmentParams
from pipeline.settings import ROOT, Settings
from pipeline.store import Store
from pipeline.styles import load_styles

EMBEDDED_WEIGHTS = "weights/ldm.npz"
TEMPLATE = "template"  # LLM_MODEL for no model at all


@asynccontextmanager
async def open_pipeline(settings: Settings) -> AsyncIterator[Pipeline]:
    """Open the collaborators that the settings name, and close them in the end.

    The database must be migrated. Raises ConfigurationError where a setting names what is not there.
    """
    async with AsyncExitStack() as stack:
        executor = make_executor(
            settings.executor_url, timeout=settings.worker_timeout, threads=settings.worker_threads
        )
        stack.callback(executor.shutdown, wait=True, cancel_futures=True)
        generator = make_generator(settings, executor)
        info = generator.info
        pipeline = Pipeline(
            generator=generator,
            segmenter=MaskRCNNSegmenter(
                executor,
                settings.segmenters,
                root=ROOT,
                params=SegmentParams(
                    min_score=settings.min_score,
                    min_area=settings.min_area,
                    max_area=settings.max_area,
                    max_objects=settings.max_objects,
                    instances=settings.instances,
                    engine=settings.segmenter_engine,
                    memory=settings.segmenter_memory,
                ),
            ),
            writer=make_writer(settings, info.vocabulary),
            store=Store(
                settings.database_url,
                limits=Limits(
                    member_waiting=settings.member_waiting,
                    member_daily=settings.member_daily,
                    server_waiting=settings.server_waiting,
                    server_daily=settings.server_daily,
                ),
            ),
            options=EngineOptions(
                width=settings.picture_width,
                height=settings.picture_height,
                negative_prompt=settings.negative_prompt,
                params=PaintParams(
                    strength=info.strength if settings.strength is None else settings.strength,
                    steps=settings.steps,
                    guidance=info.guidance if settings.guidance is None else settings.guidance,
                    grow=settings.mask_grow,
                    blur=settings.mask_blur,
                    padding=settings.mask_padding,
                ),
                class_params=settings.class_params,
                max_depth=settings.max_depth,
                policy=load_policy(_find(settings.policy_file)),
                styles=load_styles(_find(settings.styles_file)),
            ),
        )
        stack.push_async_callback(pipeline.aclose)
        yield pipeline


def make_generator(settings: Settings, executor: Executor) -> ImageGenerator:
    """Make what paints, as `DIFFUSION_URL` says. Raises ConfigurationError."""
    scheme, _, rest = settings.diffusion_url.partition(":")
    if scheme == "embedded":
        return Embedded(executor=executor, weights=_find(rest or EMBEDDED_WEIGHTS))
    if scheme in ("a1111+http", "a1111+https"):
        return Automatic1111(
            url=settings.diffusion_url.removeprefix("a1111+"),
            native_size=settings.diffusion_native_size,
            checkpoint=settings.diffusion_checkpoint,
            sampler=settings.diffusion_sampler,
            timeout=settings.diffusion_timeout,
        )
    raise ConfigurationError(
        "DIFFUSION_URL begins with what is not known here; "
        "known are embedded: and a1111+http://host:7860 (or a1111+https://)."
    )


def make_writer(settings: Settings, vocabulary: Vocabulary | None) -> ContextWriter:
    """Make what writes the notes: a server's model, the embedded one, or where there is none the template."""
    key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else ""
    if settings.llm_model == TEMPLATE:
        return TemplateContextWriter(vocabulary)
    if not key and not settings.openai_base_url:
        model = find_model()
        if model is None:
            return TemplateContextWriter(vocabulary)
        return EmbeddedContextWriter(
            LanguageServer(model), vocabulary=vocabulary, timeout=settings.llm_timeout
        )
    return OpenAIContextWriter(
        model=settings.llm_model,
        api_key=key,
        base_url=settings.openai_base_url,
        timeout=settings.llm_timeout,
        vision=settings.llm_vision,
        vocabulary=vocabulary,
    )


def _find(path: str) -> Path:
    """Resolve a file against the working folder, else against the repository's."""
    return Path(path) if Path(path).exists() else ROOT / path
