#!/bin/sh
# Checks for the system packages that pip cannot install. As root on Debian or Ubuntu it installs
# the missing ones; otherwise it names them. It always succeeds, because training with the naive
# kernels needs none of them.
set -eu

[ "$(uname -s)" = Linux ] || exit 0
PATH=$PATH:/usr/sbin:/sbin
python=${PYTHON:-python3}

has_library() { ldconfig -p 2>/dev/null | grep -q "$1"; }
has_python_file() { "$python" -c "$1" >/dev/null 2>&1; }

missing=""
purpose=""
need() { # need PURPOSE PACKAGE...
    purpose="${purpose:+$purpose, }$1"
    shift
    missing="${missing:+$missing }$*"
}

has_library libEGL.so.1 && has_library libGL.so.1 || need "videos without a screen" libegl1 libgl1
command -v "${CXX:-g++}" >/dev/null || need "compiled kernels" g++
# Only Debian splits these off its Python, so the package's name is Debian's.
version=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
has_python_file 'import os, sysconfig as s; os.stat(s.get_path("include") + "/Python.h")' ||
    need "compiled kernels" "$version-dev"
has_python_file 'import ensurepip' || need "the virtual environment" "$version-venv"

[ -n "$missing" ] || exit 0
# shellcheck disable=SC2086  # a list of packages
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null &&
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y \
        --no-install-recommends $missing; then
    exit 0
fi
echo "note: missing for $purpose: $missing; on Debian or Ubuntu: sudo apt-get install $missing" >&2
