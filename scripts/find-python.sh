#!/bin/sh
# Prints the Python to make environments with: $PYTHON if it is set, else the system's if it fits, else plain python3,
# else the newest one that does. It must really run (a shim of a version manager may be there for a version that is
# not), and must be able to make an environment. The system's comes first since distributions build it with
# profile-guided optimization. A version manager's often is built without: all tests need a tenth more of the processors.
set -eu

fits='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'
makes='import ensurepip, venv'
without_venv=

for name in ${PYTHON:-/usr/bin/python3 python3 python3.13 python3.12 python3.11}; do
    path=$(command -v "$name") && "$path" -c "$fits" >/dev/null 2>&1 || continue
    if "$path" -c "$makes" >/dev/null 2>&1; then
        "$path" -c 'import sys; print(sys.executable)'
        exit
    fi
    without_venv=${without_venv:-$path}
done

if [ -n "$without_venv" ]; then
    version=$("$without_venv" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    echo "$without_venv cannot make a virtual environment: its venv or ensurepip module is missing." >&2
    echo "On Debian and Ubuntu: apt-get install python$version-venv" >&2
elif [ -n "${PYTHON:-}" ]; then
    echo "PYTHON=$PYTHON is no Python 3.11, 3.12 or 3.13 that runs." >&2
else
    echo "Python 3.11, 3.12 or 3.13 is needed, and none was found on PATH." >&2
    echo "On Debian and Ubuntu: apt-get install python3 python3-venv. Or name one: make PYTHON=/path/to/python3.12 ..." >&2
fi
exit 1
