#!/usr/bin/env bash
# Builds the predictor's image and says its name, size and digest. Where the base cannot be pulled, a tree
# by debootstrap is committed in its place: the same Debian release by the same packages.
#   image/build.sh                     millrace:0.1.0 on debian:bookworm-slim, by buildah or docker
#   VARIANT=cuda image/build.sh        for NVIDIA's GPUs; VARIANT=rocm BASE=… for AMD's
#   VARIANT=pipeline image/build.sh    of the pipeline's steps, on top of the predictor's, which is built first
#                                      unless PREDICTOR names one that is here
#   BASE=debian:bookworm-slim@sha256:… image/build.sh
#   EXTRAS=tracing,registry-client,torch  packages of setup.cfg besides: PyTorch, for .pt2 variants
#   PYTHON=.venv/bin/python            whose pip fetches the wheels, by its own configuration
set -euo pipefail
cd "$(dirname "$0")/.."

variant=${VARIANT:-cpu}
base=${BASE:-debian:bookworm-slim}
version=$(sed -n 's/^version = //p' setup.cfg)
tag=${TAG:-millrace:$version$([ "$variant" = cpu ] || echo "-$variant")}
python=${PYTHON:-python3}
work=var/image
if [ "$variant" = pipeline ]; then
  predictor=${PREDICTOR:-}
  if [ -z "$predictor" ]; then
    VARIANT=cpu TAG=millrace:$version image/build.sh
    predictor=$(! command -v buildah >/dev/null || echo localhost/)millrace:$version
  fi
  file=image/Containerfile.pipeline extras=tracing,analyzer,pipelines,registry,rollout
else
  file=Containerfile extras=${EXTRAS:-tracing,registry-client}
fi
wheels=$work/wheels/$variant

say() { echo "image: $*" >&2; }
fail() { say "$*"; exit 2; }

if command -v buildah >/dev/null; then
  # Neither needs a kernel's leave to mount overlay file systems or to make user namespaces. The driver by a flag, since
  # buildah reads STORAGE_DRIVER only where it has a storage.conf.
  export BUILDAH_ISOLATION=${BUILDAH_ISOLATION:-chroot}
  buildah() { command buildah --storage-driver "${STORAGE_DRIVER:-vfs}" "$@"; }
elif ! command -v docker >/dev/null; then
  fail "neither buildah nor docker is here: install one of them"
fi

# The packages, by the machine's own pip and so by its index, proxy and certificates: the build then needs none.
fetch_wheels() {
  mkdir -p "$wheels"
  if [ -f "image/requirements-$variant.txt" ]; then
    "$python" -m pip wheel --quiet --wheel-dir "$wheels" --constraint requirements.lock -r "image/requirements-$variant.txt"
  fi
  "$python" -m pip wheel --quiet --wheel-dir "$wheels" --constraint requirements.lock ".[$extras]" 'setuptools<81' wheel
  "$python" -m pip wheel --quiet --wheel-dir "$wheels" cyclonedx-bom==7.5.0
  rm -f "$wheels"/millrace-*.whl  # it is built from its source
}

# A container's tree without a registry; `slim` leaves out documentation, as the image of that name does.
bootstrap() {
  command -v debootstrap >/dev/null || fail "$base cannot be pulled, and debootstrap is not here to make one"
  [ "$(id -u)" = 0 ] || fail "$base cannot be pulled, and debootstrap needs root"
  local tree=$work/base
  if [ ! -e "$tree/etc/debian_version" ]; then
    rm -rf --one-file-system "$tree"
    debootstrap --variant=minbase bookworm "$tree" >"$work/debootstrap.log" 2>&1 \
      || { tail -n 3 "$work/debootstrap.log" >&2; rm -rf --one-file-system "$tree"; fail "debootstrap failed"; }
    rm -rf "$tree"/var/cache/apt/archives/*.deb "$tree"/var/lib/apt/lists/* \
      "$tree"/usr/share/doc/* "$tree"/usr/share/man/* "$tree"/usr/share/locale/*
  fi
  local container
  container=$(buildah from scratch)
  buildah add --quiet "$container" "$tree" / >/dev/null
  buildah commit --quiet --rm "$container" localhost/debian:bookworm-slim >/dev/null
  base=localhost/debian:bookworm-slim
}

has() { buildah inspect --type image "$1" >/dev/null 2>&1; }

build_with_buildah() {
  if [ "$variant" != pipeline ] && ! has "$base" && ! buildah pull --quiet "$base" >/dev/null 2>&1; then
    # Nobody who named another base gets Debian instead.
    [ "$base" = debian:bookworm-slim ] || fail "$base cannot be pulled"
    if has localhost/debian:bookworm-slim; then base=localhost/debian:bookworm-slim; else bootstrap; fi
    say "debian:bookworm-slim cannot be pulled: built on a tree by debootstrap instead"
  fi
  # Docker's format, since OCI's knows no HEALTHCHECK.
  buildah bud --quiet --format docker --network host --pull-never --file "$file" \
    --build-arg BASE="$base" "${arguments[@]}" --tag "$tag" . >/dev/null
}

[[ "$variant" =~ ^(cpu|pipeline)$ ]] || [ -f "image/requirements-$variant.txt" ] \
  || fail "VARIANT is cpu, cuda, rocm or pipeline, not $variant"
fetch_wheels
arguments=(--build-arg "WHEELS=$wheels")
if [ "$variant" = pipeline ]; then
  arguments+=(--build-arg "PREDICTOR=$predictor")
else
  arguments+=(--build-arg "VARIANT=$variant" --build-arg "EXTRAS=$extras")
fi
if command -v buildah >/dev/null; then
  build_with_buildah
  size=$(buildah images --format '{{.Size}}' "$tag" | head -n 1)
  digest=$(buildah inspect --type image --format '{{.FromImageDigest}}' "$tag")
else
  docker build --file "$file" --build-arg BASE="$base" "${arguments[@]}" --tag "$tag" .
  size=$(docker image inspect --format '{{.Size}}' "$tag") digest=$(docker image inspect --format '{{.Id}}' "$tag")
fi
echo "$tag $size $digest"
