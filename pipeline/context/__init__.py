"""Stories, tags, and what a reply means: by a language model, or by a template where there is none."""

from pipeline.context.embedded import EmbeddedContextWriter
from pipeline.context.language_model import OpenAIContextWriter
from pipeline.context.template import TemplateContextWriter

__all__ = ["EmbeddedContextWriter", "OpenAIContextWriter", "TemplateContextWriter"]
