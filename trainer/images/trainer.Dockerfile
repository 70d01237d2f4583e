# The image of the agent and of the trainer: one image, two commands.
#
#   docker build -f trainer/images/trainer.Dockerfile -t rssi-trainer .
#
# With --build-arg PACKAGES=trainer-gpu the trainer fits on an NVIDIA GPU (MXNet for
# CUDA 11; 4 GB of libraries). That image needs the node's driver even to start MXNet: it
# is for the Jobs of a pod template that asks for nvidia.com/gpu, see docs/adr/0024.
#
# Programs in trainer/images/bin/ are copied, such as AWS's signing helper for IAM Roles
# Anywhere (see the README there). BASE may be a mirror's image, best by digest; it needs Python 3.11
# and Debian's apt.
ARG BASE=docker.io/library/python:3.11.13-slim-bookworm

FROM ${BASE} AS packages
ARG PACKAGES=trainer
COPY requirements/trainer.txt requirements/trainer-gpu.txt /tmp/
RUN python -m venv /opt/venv \
 && /opt/venv/bin/python -m pip install --no-cache-dir --require-hashes -r /tmp/${PACKAGES}.txt

FROM ${BASE}
# MXNet's library is linked against these two; the wheel has the rest.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libgomp1 libquadmath0 \
 && rm -rf /var/lib/apt/lists/*
COPY --from=packages /opt/venv /opt/venv
# Folders of NVIDIA's libraries, if there are any: MXNet's library names none of them.
RUN find /opt/venv -path '*/nvidia/*/lib' -type d > /etc/ld.so.conf.d/nvidia-packages.conf \
 && ldconfig
COPY trainer/images/bin/ /usr/local/bin/
COPY events/ /app/events/
COPY aws/ /app/aws/
COPY trainer/__init__.py trainer/logs.py /app/trainer/
COPY trainer/agent/ /app/trainer/agent/
COPY trainer/training/ /app/trainer/training/
COPY trainer/localization/ /app/trainer/localization/
COPY trainer/serving/ /app/trainer/serving/
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    HOME=/tmp
# Compiled now: the root file system is read-only at run time.
RUN python -m compileall -q /app
WORKDIR /tmp
USER 65532:65532
CMD ["python", "-m", "trainer.agent"]
