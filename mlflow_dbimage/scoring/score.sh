#!/bin/sh
# Scores a file with the model of this image: `score --help`.
#
# Starts the Python of the model's environment on our scoring code, wherever the two lie: the root is found from
# this file's own place (ROOT/bin/score), or named by DBIMAGE_ROOT. Nothing of the caller's Python settings, user
# site or working directory is imported. Plain POSIX sh.
set -eu

if [ -z "${DBIMAGE_ROOT:-}" ]; then
    self=$0
    case $self in
        */*) ;;
        *) self=$(command -v -- "$self") ;;
    esac
    self=$(readlink -f -- "$self" 2>/dev/null || printf '%s\n' "$self")
    DBIMAGE_ROOT=$(CDPATH='' cd -- "${self%/*}/.." && pwd -P)
fi
# The environment may be a link: its programs name the place where it really is.
environment=$(CDPATH='' cd -P -- "$DBIMAGE_ROOT/env" 2>/dev/null && pwd -P) || environment=$DBIMAGE_ROOT/env
python=$environment/bin/python
if [ ! -x "$python" ]; then
    printf '%s\n' "error: no model environment: \`$python\` is no program" >&2
    exit 4
fi

unset PYTHONHOME PYTHONPATH PYTHONSTARTUP || :
PATH=$environment/bin:${PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}
# For the programs that the model may start; -I and -B say the same to ours.
PYTHONNOUSERSITE=1
PYTHONDONTWRITEBYTECODE=1
CONDA_PREFIX=$environment
export DBIMAGE_ROOT PATH PYTHONNOUSERSITE PYTHONDONTWRITEBYTECODE CONDA_PREFIX

exec "$python" -I -B -c '
import sys
sys.path.insert(0, sys.argv.pop(1))
from plugin_entrypoints.batch import main
sys.exit(main())
' "$DBIMAGE_ROOT/lib" "$@"
