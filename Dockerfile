# Everything that the bot needs: Python, its packages, the code and the weights that are shipped with it.

FROM python:3.12-slim-bookworm AS packages
# uv reads the lock file: what is installed here is what was tested.
RUN pip install --no-cache-dir "uv>=0.9,<1"
ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    UV_PYTHON_DOWNLOADS=never
WORKDIR /app
COPY pyproject.toml uv.lock ./
RUN uv sync --locked --no-group dev --extra postgresql --extra metrics

FROM python:3.12-slim-bookworm
# llama.cpp's threads.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1=12.* \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 10001 bot
WORKDIR /app
COPY --from=packages /app/.venv .venv
COPY . .
RUN install --directory --owner=bot data
USER 10001
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    METRICS_PORT=9100
VOLUME /app/data
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"METRICS_PORT\"]}/health', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "bot.py"]
