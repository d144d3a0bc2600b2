FROM python:3.13-slim AS build
WORKDIR /src
COPY . .
RUN python3 -m pip wheel --no-cache-dir --wheel-dir /wheels ".[postgres]"

FROM python:3.13-slim
LABEL org.opencontainers.image.title="ngshare" \
      org.opencontainers.image.description="An nbgrader exchange for JupyterHub"
RUN groupadd --gid 1000 ngshare \
    && useradd --uid 1000 --gid 1000 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin ngshare \
    && install --directory --owner=ngshare --group=ngshare /srv/ngshare
# Installed from the wheels alone: what runs is what was built.
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    python3 -m pip install --no-cache-dir --no-index --find-links=/wheels "ngshare[postgres]"
# SAFEPATH keeps the working folder off Python's path.
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONSAFEPATH=1
# Memory of large buffers goes back to the system, as with ngshare.hub.configure_hub.
ENV MALLOC_ARENA_MAX=2 MALLOC_MMAP_THRESHOLD_=4194304 MALLOC_TRIM_THRESHOLD_=16777216
# Where an ngshare_config.py can be mounted; the service cannot write here.
WORKDIR /etc/ngshare
USER 1000:1000
EXPOSE 8080
ENTRYPOINT ["python3", "-m", "ngshare"]
