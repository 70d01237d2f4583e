# The image of the SageMaker endpoint, without AWS's client and MXNet.
#
#   docker build -f trainer/images/serving.Dockerfile -t rssi-serving .
#
# SageMaker starts it as `docker run IMAGE serve`, with the unpacked release at /opt/ml/model. On top
# of the base come 134 MB of packages: numpy 79, LiteRT 28, uvloop 14, simdjson 7, and 6 of small ones.
ARG BASE=docker.io/library/python:3.11.13-slim-bookworm

FROM ${BASE} AS packages
COPY requirements/serving.txt /tmp/serving.txt
# Left out is what runs no model: LiteRT's compilers and its GPU driver, types that only those
# use, and simdjson's sources.
RUN python -m venv --without-pip /opt/venv \
 && PIP_PYTHON=/opt/venv/bin/python \
    python -m pip install --no-cache-dir --require-hashes -r /tmp/serving.txt \
 && cd /opt/venv/lib/python3.11/site-packages \
 && rm -r ai_edge_litert/tools ai_edge_litert/vendors ai_edge_litert/aot \
    ai_edge_litert/libLiteRtWebGpuAccelerator.so ml_dtypes simdjson/*.cpp simdjson/*.h

FROM ${BASE}
# SageMaker allows many models and another port only if the image declares it.
LABEL com.amazonaws.sagemaker.capabilities.multi-models=true \
      com.amazonaws.sagemaker.capabilities.accept-bind-to-port=true
COPY --from=packages /opt/venv /opt/venv
COPY events/ /app/events/
COPY trainer/__init__.py /app/trainer/
COPY trainer/localization/ /app/trainer/localization/
COPY trainer/serving/ /app/trainer/serving/
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp
RUN python -m compileall -q /app
WORKDIR /tmp
EXPOSE 8080
USER 65532:65532
ENTRYPOINT ["python", "-m", "trainer.serving"]
CMD ["serve"]
