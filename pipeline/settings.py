"""Settings, read from the environment and `.env`. Made only by entry points."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

ROOT = Path(__file__).resolve().parent.parent


class Settings(BaseSettings):
    """Everything an operator may set. Names in the environment are these in capitals."""

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8", extra="ignore", env_ignore_empty=True
    )

    discord_token: SecretStr | None = Field(
        default=None, description="The bot's token from Discord's developer portal."
    )
    database_url: str = Field(
        default="sqlite+aiosqlite:///data/contextual-diffusion.sqlite",
        description="Where sessions, pictures and notes are kept (SQLAlchemy URL with an async driver).",
    )

    diffusion_url: str = Field(
        default="embedded:",
        description="What paints: `embedded:` or `a1111+http://user:password@host:7860`.",
    )
    diffusion_native_size: Annotated[int, Field(ge=64, le=2048)] = Field(
        default=512,
        description="Side in pixels that a server's model paints best: 512 for SD 1.5, 1024 for SDXL.",
    )
    diffusion_checkpoint: str = Field(
        default="", description="Checkpoint to ask a server for; empty = the one it has loaded."
    )
    diffusion_sampler: str = Field(
        default="", description="Sampler to ask a server for; empty = the server's own."
    )
    diffusion_timeout: Annotated[float, Field(gt=0)] = Field(
        default=600,
        description="Seconds after which a picture that a server has not finished counts as failed.",
    )
    picture_width: Annotated[int, Field(ge=64, le=4096)] | None = Field(
        default=None,
        description="Width of a picture when the member names none; empty = what the backend likes.",
    )
    picture_height: Annotated[int, Field(ge=64, le=4096)] | None = Field(
        default=None,
        description="Height of a picture when the member names none; empty = what the backend likes.",
    )
    negative_prompt: str = Field(default="", description="Added to every negative prompt.")

    openai_api_key: SecretStr | None = Field(default=None, description="Key of the language model's server.")
    openai_base_url: str = Field(
        default="",
        description="URL of any OpenAI-compatible server; empty = OpenAI when there is a key, "
        "else the embedded language model.",
    )
    llm_model: str = Field(
        default="gpt-4.1-mini",
        description="Model of that server which writes stories and tags; `template` = no model at all.",
    )
    llm_vision: bool = Field(
        default=False, description="Whether to send the picture with numbered outlines to the model."
    )
    llm_timeout: Annotated[float, Field(gt=0)] = Field(
        default=60, description="Seconds the language model may take before a template is used instead."
    )

    segmenters: Annotated[dict[int, str], NoDecode] = Field(
        default={0: "weights/surface.h5", 1: "weights/detail.h5"},
        description="Mask R-CNN weights for each depth, `0:file,1:file`; the deepest serves all deeper ones.",
    )
    segmenter_engine: Literal["onnx", "openvino", "tensorflow"] = Field(
        default="onnx",
        description="What runs Mask R-CNN weights: ONNX Runtime exactly; OpenVINO several times faster "
        "where the processor multiplies bfloat16, a little less exact, needs `--extra openvino`; "
        "TensorFlow can use a GPU.",
    )
    segmenter_memory: Annotated[int, Field(ge=1)] = Field(
        default=2048,
        description="Megabytes of Mask R-CNN weights that a worker keeps ready; beyond that, those not used "
        "for longest leave.",
    )
    executor_url: str = Field(
        default="process:1", description="Where models run: `process:N`, N worker processes of this machine."
    )
    worker_timeout: Annotated[float, Field(gt=0)] = Field(
        default=300, description="Seconds a worker may take for one piece of work before it is replaced."
    )
    worker_threads: Annotated[int, Field(ge=1, le=64)] = Field(
        default=2,
        description="Threads each worker may use; another number may change the last bits of a picture.",
    )
    instances: Literal["separate", "merged"] = Field(
        default="separate", description="Whether objects of one class stay apart or become one."
    )
    min_score: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.7, description="Detections below this score are left out."
    )
    min_area: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0005, description="Objects smaller than this share of the picture are left out."
    )
    max_area: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.9, description="Objects larger than this share of the picture are left out."
    )
    max_objects: Annotated[int, Field(ge=1, le=24)] = Field(
        default=6, description="At most this many objects a recursion."
    )

    steps: Annotated[int, Field(ge=1, le=150)] = Field(default=20, description="Sampling steps.")
    guidance: Annotated[float, Field(ge=0, le=30)] | None = Field(
        default=None,
        description="How closely the prompt is followed (CFG scale); empty = what suits the backend.",
    )
    strength: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None,
        description="How far a repainted object may leave what was there (denoising strength); "
        "empty = what suits the backend.",
    )
    mask_grow: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.02,
        description="How far masks are grown, as a share of the object's size (of 50 pixels at most).",
    )
    mask_blur: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.08,
        description="How wide the feathered border is, as a share of the object's size (as above).",
    )
    mask_padding: Annotated[float, Field(ge=0, le=4)] = Field(
        default=0.5,
        description="How much around an object the model sees when it repaints it, as a share of its size.",
    )
    class_params: dict[str, dict[str, float | int | str]] = Field(
        default={},
        description="Per class, other values of strength, steps, guidance, grow, blur, padding, "
        'prompt_prefix, negative_prompt, as JSON: `{"Sky": {"strength": 0.6}}`.',
    )

    max_depth: Annotated[int, Field(ge=1, le=50)] = Field(
        default=8, description="The deepest recursion a member may ask for."
    )
    iterate_by: Literal["everyone", "requester"] = Field(
        default="everyone",
        description="Who may react and reply to go on: everyone in the thread, or who asked for it.",
    )
    member_waiting: Annotated[int, Field(ge=0)] = Field(
        default=30,
        description="Unfinished pictures a member may have in a server; 0 = any number. "
        "Servers may be stricter (`/settings`), also with the three below.",
    )
    member_daily: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Pictures a member may ask for in 24 hours in a server; 0 = any number."
    )
    server_waiting: Annotated[int, Field(ge=0)] = Field(
        default=1000, description="Unfinished pictures a server may have; 0 = any number."
    )
    server_daily: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Pictures a server may ask for in 24 hours; 0 = any number."
    )
    policy_file: str = Field(
        default="pipeline/policy.txt",
        description="Words that are for age-restricted channels only, one a line.",
    )
    styles_file: str = Field(
        default="pipeline/styles.toml", description="Styles that members can choose: named prompt additions."
    )
    concurrency: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1, description="Steps worked on at the same time."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="How much is logged."
    )
    log_format: Literal["text", "json"] = Field(
        default="text",
        description="How it is logged: lines for people, or a JSON object a line for programs.",
    )
    metrics_port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        default=None,
        description="Port on which `/metrics` answers Prometheus, and `/health` whether the bot is "
        "connected; empty = neither.",
    )
    metrics_host: str = Field(
        default="127.0.0.1",
        description="Address to listen on for these; whoever reaches it may read them.",
    )

    @field_validator("segmenters", mode="before")
    @classmethod
    def _read_segmenters(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        entries: dict[int, str] = {}
        for part in filter(None, (piece.strip() for piece in value.split(","))):
            depth, colon, path = part.partition(":")
            if not colon or not depth.strip().isdigit() or not path.strip():
                raise ValueError(
                    f"{part!r} is not DEPTH:FILE, as in 0:weights/surface.h5,1:weights/detail.h5"
                )
            entries[int(depth)] = path.strip()
        if 0 not in entries:
            raise ValueError("there must be weights for depth 0, as in 0:weights/surface.h5")
        return entries

    @field_validator("class_params")
    @classmethod
    def _check_class_params(
        cls, value: dict[str, dict[str, float | int | str]]
    ) -> dict[str, dict[str, float | int | str]]:
        from dataclasses import fields

        from pipeline.domain import PaintParams

        known = {field.name for field in fields(PaintParams)}
        for label, params in value.items():
            if odd := sorted(set(params) - known):
                raise ValueError(f"{label}: unknown {', '.join(odd)}; known are {', '.join(sorted(known))}")
        return value


def explain(error: ValidationError) -> str:
    """Say in one line a setting what is wrong with it, without the values: they may be secrets."""
    return "\n".join(
        f"Setting {str(item['loc'][0]).upper() if item['loc'] else '?'}: {item['msg']}."
        for item in error.errors(include_input=False)
    )
