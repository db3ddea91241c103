# Sourced by the other scripts, from the repository root: makes .venv and node_modules from the pinned files, and does
# nothing when they are up to date. It finds Python and Node by itself and says in one sentence what is missing.

# jsii takes the major versions that it shall not warn of; scripts/doctor says what there is to say.
export JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION=20

_parley_python() {
  # Prefers 3.13, which the functions run on, and takes 3.12 or newer.
  local candidate
  for candidate in "${PYTHON:-}" python3.13 \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.13*/bin/python /opt/homebrew/bin/python3.13 /usr/local/bin/python3.13 \
    "$HOME"/.local/share/uv/python/cpython-3.13*/bin/python3.13 \
    python3.14 python3.12 python3 python \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[24]*/bin/python /opt/homebrew/bin/python3 /usr/local/bin/python3 \
    "$HOME"/.local/share/uv/python/cpython-3.1[24]*/bin/python3; do
    [ -n "$candidate" ] || continue
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1; then
      "$candidate" -c 'import sys; print(sys.executable)'
      return
    fi
  done
  echo "Parley needs Python 3.12 or newer with its venv module (3.13 is best), and none was found: install it, or set PYTHON to its path." >&2
  return 1
}

_parley_node() {
  # Prints the folder that holds a Node >= 20 with its npm.
  local candidate
  for candidate in "$(command -v node || true)" "${NVM_DIR:-$HOME/.nvm}"/versions/node/v2[0-9]*/bin/node \
    "$HOME"/.volta/bin/node "$HOME"/.fnm/node-versions/v2[0-9]*/installation/bin/node \
    "$HOME"/.local/share/fnm/node-versions/v2[0-9]*/installation/bin/node "$HOME"/.asdf/installs/nodejs/2[0-9]*/bin/node \
    /opt/homebrew/bin/node /usr/local/bin/node /usr/bin/node; do
    [ -x "$candidate" ] && [ -e "$(dirname "$candidate")/npm" ] || continue
    if "$candidate" -e 'process.exit(Number(parseInt(process.versions.node) < 20))' >/dev/null 2>&1; then
      dirname "$candidate"
      return
    fi
  done
  echo "Parley needs Node.js 20 or newer with npm, and none was found: install it and put it on PATH." >&2
  return 1
}

_parley_hash() {
  cat "$@" | { sha256sum 2>/dev/null || shasum -a 256; } | cut -d ' ' -f 1
}

_parley_heartbeat() {
  # Says every few seconds that the work goes on, as long as the process $1 lives.
  local seconds=0
  while sleep 4 && kill -0 "$1" 2>/dev/null; do
    seconds=$((seconds + 4))
    echo "  still installing (${seconds} s) ..." >&2
  done
}

_parley_espeak() {
  # The AI endpoints speak with espeak-ng, a program that no package index has. Nothing but speech needs it.
  command -v espeak-ng >/dev/null && return
  if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    echo "Installing espeak-ng, the sandbox's voice ..." >&2
    apt-get install -qq -y --no-install-recommends espeak-ng >/dev/null 2>&1 && return
    apt-get update -qq >/dev/null 2>&1 && apt-get install -qq -y --no-install-recommends espeak-ng >/dev/null 2>&1 && return
  fi
  echo "Without espeak-ng the sandbox does not speak: install the package 'espeak-ng' (apt-get, brew) to talk to it." >&2
}

_parley_setup() {
  local node python_stamp node_stamp npm_job= heart= log status=0
  node=$(_parley_node) || return 1
  case ":$PATH:" in *":$node:"*) ;; *) export PATH="$node:$PATH" ;; esac

  python_stamp=$(_parley_hash requirements.txt client/pyproject.toml constructs/pyproject.toml runtime/pyproject.toml) || return 1
  node_stamp=$(_parley_hash package.json package-lock.json $([ -f web/package.json ] && echo web/package.json)) || return 1
  log=$(mktemp) || return 1
  _parley_espeak

  if [ "$(cat node_modules/.parley-setup 2>/dev/null)" = "$node_stamp" ] &&
    [ "$(cat .venv/.parley-setup 2>/dev/null)" = "$python_stamp" ]; then
    rm -f "$log"
    return 0
  fi
  _parley_heartbeat $$ </dev/null &
  heart=$!

  if [ "$(cat node_modules/.parley-setup 2>/dev/null)" != "$node_stamp" ]; then
    echo "Installing the Node packages ..." >&2
    (npm ci --no-audit --no-fund --loglevel=error >"$log" 2>&1 && echo "$node_stamp" >node_modules/.parley-setup) &
    npm_job=$!
  fi
  if [ "$(cat .venv/.parley-setup 2>/dev/null)" != "$python_stamp" ]; then
    _parley_install_python "$python_stamp" || status=1
  fi
  if [ -n "$npm_job" ] && ! wait "$npm_job"; then
    cat "$log" >&2
    echo "The Node packages could not be installed: npm's reason stands above." >&2
    status=1
  fi

  kill "$heart" 2>/dev/null
  wait "$heart" 2>/dev/null
  rm -f "$log"
  return "$status"
}

_parley_install_python() {
  local python pinned
  # A virtual environment whose interpreter is gone or too old is made anew.
  if ! .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1; then
    python=$(_parley_python) || return 1
    echo "Making .venv with $python ..." >&2
    "$python" -m venv --clear .venv >&2 || { echo "$python could not make .venv: its reason stands above." >&2; return 1; }
  fi
  echo "Installing the Python packages ..." >&2
  if ! .venv/bin/uv --version >/dev/null 2>&1; then
    # Its pin and the hashes below it; uv checks those of all the others.
    pinned=$(mktemp) || return 1
    sed -n '/^uv==/,/^ *#/p' requirements.txt >"$pinned"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement "$pinned" >&2 ||
      { echo "uv could not be installed from the package index: pip's reason stands above." >&2; return 1; }
    rm -f "$pinned"
  fi
  # Compiled once here rather than by the first command that imports a package.
  .venv/bin/uv pip sync --quiet --compile-bytecode --python .venv/bin/python requirements.txt >&2 ||
    { echo "The Python packages could not be installed: uv's reason stands above." >&2; return 1; }
  echo "$1" >.venv/.parley-setup
}

_parley_setup || exit 1
