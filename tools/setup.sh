#!/bin/sh
# Installs what Coffer needs, on Debian 12, and builds the bundle. `setup.sh test` adds what the tests check us with.
# Idempotent: does nothing that is done already. Without root or apt-get it says what is missing and goes on.
set -eu
cd "$(dirname "$0")/.."

need() { # package names that are not installed
  for package in "$@"; do
    dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || echo "$package"
  done
}

install() {
  missing=$(need "$@")
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "setup: wanted these Debian packages, found them missing: $(echo $missing)" >&2
    echo "  hint: apt-get install $(echo $missing)" >&2
    return 0
  fi
  echo "setup: installing $(echo $missing)" >&2
  apt-get update -qq >&2
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

node_major() { node --version 2>/dev/null | sed -n 's/^v\([0-9]*\).*/\1/p'; }

major=$(node_major)
if [ -z "$major" ] || [ "$major" -lt 18 ] || ! command -v npm >/dev/null; then
  install nodejs npm
fi
install runc podman fuse3 util-linux ca-certificates
if [ "${1:-}" = test ]; then
  install erofs-utils cryptsetup-bin umoci skopeo mmdebstrap swtpm swtpm-tools tpm2-tools libtss2-tcti-swtpm0 \
    postgresql postgresql-contrib sqlite3 git qemu-user-static binutils binutils-aarch64-linux-gnu attr acl libcap2-bin python3-cryptography \
    python3-venv curl strace fio stress-ng chromium gocryptfs cryfs securefs encfs time uidmap containerd docker.io
fi

stamp=node_modules/.coffer-setup
if [ ! -f "$stamp" ] || [ package-lock.json -nt "$stamp" ] || [ ! -x node_modules/.bin/node ]; then
  echo "setup: installing the npm packages" >&2
  # Not `npm ci`: it refuses the lock file where a registry lacks the optional packages of other platforms.
  # It writes no lock file (npm of another version would), and the versions are the lock file's all the same, and each package is checked against its hash there.
  npm install --no-save --no-audit --no-fund --loglevel=error >&2
  touch "$stamp"
fi
node_modules/.bin/node tools/build.ts
echo "setup: done. ./coffer --help shows what there is." >&2
