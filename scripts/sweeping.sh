# Sweeps of the comparison scripts, which source this file at the top of the repository.
#
# PYTHON: the interpreter. status: 1 once a run has failed.
python=${PYTHON:-.venv/bin/python}
settings=()
status=0

# use_settings GIVEN SETTING...: have all sweeps use the settings, but for keys that GIVEN, the
# command line, has.
use_settings() {
    local given=$1 setting
    shift
    for setting in "$@"; do
        [[ " $given " == *" ${setting%%=*}="* ]] || settings+=("$setting")
    done
}

# sweep train|classify OVERRIDE...: do the runs that are not done. Failed runs do not end the script,
# as the comparison counts them, but a signal does.
sweep() {
    local command=$1 ended=0
    shift
    "$python" -m "snnrl.$command" -m "${settings[@]}" "$@" || ended=$?
    [ "$ended" -le 1 ] || exit "$ended"
    [ "$ended" -eq 0 ] || status=$ended
}
