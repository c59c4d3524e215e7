#!/bin/sh
# Names everything that this machine lacks for the set-up, all at once, before anything is made; then hands over to install.py.
#   sh setup/check.sh         check, then set up (`make setup`)
#   sh setup/check.sh --apt   only print the missing Debian packages, for CI
# POSIX sh, since the machine may not have a fitting Python yet. PYTHON chooses one.
set -eu
cd "$(dirname "$0")/.."

# An activated .venv must not hide the Python that it was made from.
PATH=$(printf '%s' "$PATH" | tr ':' '\n' | grep -vxF "$PWD/.venv/bin" | paste -s -d : -)

# Prints "VERSION EXECUTABLE" of a CPython in range, and nothing for any other. Inside a virtual environment it sees the Python beneath.
probe() {
    "$1" -I -c 'import os, sys
if sys.implementation.name == "cpython" and (3, 10) <= sys.version_info < (3, 13):
    print("%d.%d" % sys.version_info[:2], os.path.realpath(getattr(sys, "_base_executable", sys.executable)))' 2>/dev/null || true
}

# An existing .venv is kept on its Python until PYTHON says otherwise.
found=
for candidate in ${PYTHON:-.venv/bin/python python3.11 python3.12 python3.10 python3}; do
    found=$(probe "$candidate")
    [ -z "$found" ] || break
done
version=${found%% *} python=${found#* }

packages= problems=
lack() { # lack WHAT [PACKAGE...]
    problems="$problems
  - $1"
    shift
    packages="$packages $*"
}

case $PWD in *[[:space:]]*) lack "a path without spaces: Spark's and make's scripts cannot work in '$PWD'" ;; esac
command -v make >/dev/null || lack "make" make
echo '#include <filesystem>
int main() { if constexpr (true) return 0; }' | ${CXX:-c++} -std=c++17 -x c++ -fsyntax-only - 2>/dev/null ||
    lack "a C++17 compiler (${CXX:-c++}), to build Horovod" g++

distribution=$(. /etc/os-release 2>/dev/null && echo "${UBUNTU_CODENAME:-${VERSION_CODENAME:-}}") || distribution=
if [ -n "$found" ]; then
    case $python in /usr/bin/*) venv=python$version-venv dev=python$version-dev ;; *) venv= dev= ;; esac
    "$python" -I -c 'import ensurepip, venv' 2>/dev/null || lack "the venv and ensurepip modules of $python" $venv
    header=$("$python" -I -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h
    [ -f "$header" ] || lack "the C headers of $python ($header), to build Horovod" $dev
elif [ -n "${PYTHON:-}" ]; then
    lack "CPython 3.10 to 3.12: PYTHON=$PYTHON is $("$PYTHON" -V 2>&1 | sed 's/.*: //')"
else
    case $distribution in
    bookworm | jammy | noble) lack "CPython 3.10 to 3.12 with venv and headers" python3 python3-venv python3-dev ;;
    *) lack "CPython 3.10 to 3.12, which this distribution does not carry. Get one with pyenv ('pyenv install 3.11')
    or uv ('uv python install 3.11'), then run: make setup PYTHON=/path/to/python3.11" ;;
    esac
fi

packages=$(echo $packages)
if [ "${1:-}" = --apt ]; then
    echo "$packages"
    exit
fi
if [ -n "$problems" ]; then
    echo "setup: this machine lacks:$problems" >&2
    [ "$(id -u)" = 0 ] || sudo="sudo "
    [ -z "$packages" ] || echo "Install what apt has, then run make again:
    ${sudo:-}apt-get install -y $packages" >&2
    exit 1
fi
if command -v getent >/dev/null && ! getent ahosts "$(uname -n)" >/dev/null; then
    echo "setup: this machine's own name, $(uname -n), has no address. Horovod crashes then: add it to /etc/hosts." >&2
fi
exec "$python" -I -u setup/install.py
