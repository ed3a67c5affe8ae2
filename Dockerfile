# The bundle's environment as two images: `cpu` for the profile smollm2, `cuda` for those of a GPU. `make image` builds one of
# them; docs/image.md says how they are pinned, built without a network, and run. The repository itself is not inside:
# it is mounted on /bundle.

ARG CPU_DIGEST=sha256:008173c23f95b170204355c12626cb5a965d779a7e1283b09e9cffbb1bf33ca3
ARG CPU_BASE=ubuntu:24.04@${CPU_DIGEST}
ARG CUDA_DIGEST=sha256:c3fde347d52d578c84fd644bc177bc7ec333feaf11550d990da4084d7612e4c7
ARG CUDA_BASE=nvidia/cuda:13.0.1-runtime-ubuntu24.04@${CUDA_DIGEST}

# What the two need of the system. An empty APT_SNAPSHOT takes packages from the base's own sources as they are today.

FROM ${CPU_BASE} AS cpu-system
ARG APT_SNAPSHOT=20260925T090000Z
ARG SOURCE_DATE_EPOCH=1790326800
RUN --mount=type=bind,source=image,target=/image \
    sh /image/system.sh git make python3 python3-venv

# Triton, and with it vLLM, compiles at run time: the host's part with gcc and Python's headers, the GPU's part with an
# assembler of its own. Nothing that is used here needs nvcc, hence the runtime base.
FROM ${CUDA_BASE} AS cuda-system
ARG APT_SNAPSHOT=20260925T090000Z
ARG SOURCE_DATE_EPOCH=1790326800
RUN --mount=type=bind,source=image,target=/image \
    sh /image/system.sh git make python3 python3-venv gcc g++ libc6-dev python3-dev

# The Python packages come from the hashed locks alone: out of the folder wheels/ where the context has one, else from
# where pip looks. TORCH_INDEX is asked for PyTorch's CPU build if pip's own configuration does not offer it.

FROM cpu-system AS cpu
ARG TORCH_INDEX=
ARG SOURCE_DATE_EPOCH=1790326800
RUN --mount=type=bind,source=.,target=/context \
    sh /context/image/packages.sh bootstrap cpu
ARG CPU_BASE
ARG CPU_DIGEST
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="persona-collapse, cpu" \
      org.opencontainers.image.description="What the profile smollm2 runs on: PyTorch for the CPU" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.base.name="${CPU_BASE}" \
      org.opencontainers.image.base.digest="${CPU_DIGEST}"
# IN_IMAGE tells the Makefile that this is the environment, and for which locks. HOME and USER serve any user id.
ENV PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    IN_IMAGE=/opt/venv/locks.sha256 \
    PYTHONPATH=/bundle/src \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LANG=C.UTF-8 \
    HOME=/tmp \
    USER=bundle
WORKDIR /bundle
USER 10001:10001
HEALTHCHECK --interval=10m --timeout=2m \
    CMD ["python", "-c", "import datasets, dvc, peft, torch, transformers, trl"]
CMD ["bash"]

FROM cuda-system AS cuda
ARG SOURCE_DATE_EPOCH=1790326800
RUN --mount=type=bind,source=.,target=/context \
    sh /context/image/packages.sh bootstrap-cuda cuda
ARG CUDA_BASE
ARG CUDA_DIGEST
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="persona-collapse, cuda" \
      org.opencontainers.image.description="What the profiles of a GPU run on: PyTorch for CUDA 13 and vLLM" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.base.name="${CUDA_BASE}" \
      org.opencontainers.image.base.digest="${CUDA_DIGEST}"
ENV PATH=/opt/venv/bin:${PATH} \
    IN_IMAGE=/opt/venv/locks.sha256 \
    PYTHONPATH=/bundle/src \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LANG=C.UTF-8 \
    HOME=/tmp \
    USER=bundle
WORKDIR /bundle
USER 10001:10001
HEALTHCHECK --interval=10m --timeout=5m \
    CMD ["python", "-c", "import datasets, dvc, peft, torch, transformers, trl, vllm; assert torch.cuda.is_available()"]
CMD ["bash"]
