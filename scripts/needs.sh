# Sourced by the other scripts: installs what is missing, says so, and is quick when nothing is.

say() { printf '\n== %s\n' "$*"; }

# need_debian COMMAND=PACKAGE …: Debian packages whose command is not there yet.
need_debian() {
  local missing=() pair
  for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null 2>&1 || missing+=("${pair#*=}")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  say "installing Debian packages: ${missing[*]}"
  local sudo=
  [ "$(id -u)" -eq 0 ] || sudo=sudo
  $sudo apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# need_python: a virtual environment in .cache/python with tests/requirements.txt.
need_python() {
  local stamp=.cache/python/requirements.txt
  cmp -s tests/requirements.txt "$stamp" && return 0
  say "installing Python packages for the tests"
  python3 -m venv .cache/python
  .cache/python/bin/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
  cp tests/requirements.txt "$stamp"
}

# need_node FOLDER: the npm packages of FOLDER's lock file.
need_node() {
  cmp -s "$1/package-lock.json" "$1/node_modules/.installed" && return 0
  say "installing npm packages for $1"
  (cd "$1" && npm ci --silent --no-audit --no-fund)
  cp "$1/package-lock.json" "$1/node_modules/.installed"
}

# need_cargo_tool COMMAND CRATE@VERSION: a cargo subcommand, built without optimisation: it runs for seconds.
need_cargo_tool() {
  command -v "$1" >/dev/null 2>&1 && return 0
  say "building $2"
  CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --debug --locked "$2"
}
