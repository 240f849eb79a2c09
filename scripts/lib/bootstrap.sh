# Sourced by the scripts beside this folder: makes .venv from a hashed lock, and nothing outside the clone.
#
#   bootstrap requirements.lock        what running needs
#   bootstrap requirements-dev.lock    that and what the tests need
#
# A stamp (the lock's hash, the Python, the clone's path) makes a second run instant. Interrupted, the stamp
# is missing and the next run goes on where this one stopped.

CLONE=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
VENV=$CLONE/.venv
RUNTIME=$CLONE/.runtime
STARTED_SECONDS=$SECONDS

say() { printf '[%5d s] %s\n' $((SECONDS - STARTED_SECONDS)) "$*" >&2; }

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# slow TEXT COMMAND...: runs it with its output in a log, with a sign of life every ten seconds.
slow() {
    local text=$1 log=$RUNTIME/bootstrap.log child ticks=0 result=0
    shift
    say "$text"
    "$@" >"$log" 2>&1 </dev/null &
    child=$!
    trap 'kill "$child" 2>/dev/null; exit 130' INT TERM
    while kill -0 "$child" 2>/dev/null; do
        sleep 0.2
        ticks=$((ticks + 1))
        if ((ticks % 50 == 0)); then say "$text: $(tail -n 1 "$log" | cut -c 1-90)"; fi
    done
    wait "$child" || result=$?
    trap - INT TERM
    if ((result)); then tail -n 5 "$log" | sed 's/^/  /' >&2; fi
    return "$result"
}

find_python() {
    local candidate
    for candidate in ${CORDBOARD_PYTHON:+"$CORDBOARD_PYTHON"} python3 python3.13 python3.12 python3.11 /usr/bin/python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            PYTHON=$candidate
            return
        fi
    done
    if command -v python3 >/dev/null; then
        fail "$(python3 --version) is too old: Cordboard needs Python 3.11 or later (name one with CORDBOARD_PYTHON=/path/to/python3)"
    fi
    fail "python3 is not found: install Python 3.11 or later (on Debian 12 and 13, as root: apt-get install python3)"
}

tell_untested_system() {
    local system
    # A subshell: os-release sets names such as VERSION.
    system=$( [ -r /etc/os-release ] && . /etc/os-release && echo "${ID:-unknown} ${VERSION_ID:-of no version}")
    case ${system:-unknown} in
        "debian 12" | "debian 13") ;;
        *) say "warning: this system (${system:-unknown}) is untested; Debian 12 and 13 are tested" ;;
    esac
}

stamp_of() { # LOCK
    printf '%s %s %s\n' "$(sha256sum <"$CLONE/$1" | cut -d ' ' -f 1)" "$PYTHON_VERSION" "$CLONE"
}

make_venv() {
    local of_venv
    of_venv=$("$VENV/bin/python" -c 'import sys; print(sys.version)' 2>/dev/null | tr '\n' ' ') || of_venv=
    if [ "$of_venv" != "$PYTHON_VERSION" ]; then
        say "Creating .venv ($("$PYTHON" --version))"
        "$PYTHON" -m venv --clear --without-pip "$VENV" ||
            fail "$PYTHON can't create a virtual environment in $VENV: is the folder writable?"
    fi
}

install_lock() { # LOCK
    local lock=$CLONE/$1 count
    count=$(grep -c '^[A-Za-z0-9]' "$lock")
    if uv --version >/dev/null 2>&1; then
        slow "Installing $count Python packages with uv" \
            uv pip install --python "$VENV/bin/python" --require-hashes -r "$lock" || packages_failed
    else
        with_pip "$lock" "$count" || packages_failed
    fi
}

with_pip() { # LOCK COUNT
    local pip=("$VENV/bin/python" -m pip) trust=() wheel
    if ! "${pip[@]}" --version >/dev/null 2>&1; then
        if "$PYTHON" -c 'import ensurepip' 2>/dev/null; then
            slow "Adding pip to .venv" "$VENV/bin/python" -m ensurepip || return
        else
            # Debian without python3-venv: the same pip, from the package that python3-venv would bring.
            (cd "$CLONE" && "$PYTHON" -m ari_app.deploy.debian "$RUNTIME" pip >/dev/null) ||
                fail "pip is missing and could not be fetched; as root, apt-get install python3-venv brings it"
            wheel=$(echo "$RUNTIME"/debian/pip/root/usr/share/python-wheels/pip-*.whl)
            pip=("$VENV/bin/python" "$wheel/pip")
            certificates
        fi
    fi
    slow "Installing $2 Python packages with pip" \
        "${pip[@]}" install "${trust[@]}" --disable-pip-version-check --no-input --require-hashes -r "$1"
}

# Debian's pip trusts /etc/ssl/certs. Where ca-certificates isn't installed, those it depends on came with it.
certificates() {
    if [ -e /etc/ssl/certs/ca-certificates.crt ]; then return; fi
    trust=(--use-deprecated=legacy-certs)
    if [ -z "${PIP_CERT:-}" ]; then
        cat "$RUNTIME"/debian/pip/root/usr/share/ca-certificates/mozilla/*.crt >"$RUNTIME/certificates.pem"
        trust+=(--cert "$RUNTIME/certificates.pem")
    fi
}

packages_failed() {
    fail "installing the Python packages failed (all of it: $RUNTIME/bootstrap.log). Without network: put the" \
        "wheels named in the lock into a folder and set PIP_FIND_LINKS=FOLDER PIP_NO_INDEX=1 (for uv: UV_FIND_LINKS, UV_OFFLINE=1)"
}

# The package itself: a path file and a command, which need neither a build nor the network.
install_self() {
    local packages quoted
    packages=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    printf '%s\n' "$CLONE" >"$packages/cordboard-clone.pth"
    quoted=$(printf '%s' "$VENV/bin/python" | sed "s/'/'\\\\''/g")
    rm -f "$VENV/bin/cordboard"
    printf "#!/bin/sh\nexec '%s' -m ari_app \"\$@\"\n" "$quoted" >"$VENV/bin/cordboard"
    chmod 755 "$VENV/bin/cordboard"
}

bootstrap() { # LOCK
    local stamp=$VENV/stamp-$1
    find_python
    PYTHON_VERSION=$("$PYTHON" -c 'import sys; print(sys.version)' | tr '\n' ' ')
    if [ "$(cat "$stamp" 2>/dev/null)" = "$(stamp_of "$1")" ]; then return; fi
    mkdir -p "$RUNTIME" || fail "$RUNTIME can't be created: the clone must belong to the user who runs this"
    tell_untested_system
    exec 9>"$RUNTIME/bootstrap.lock"
    flock -n 9 || { say "Waiting for another process that sets up $VENV"; flock 9; }
    if [ "$(cat "$stamp" 2>/dev/null)" != "$(stamp_of "$1")" ]; then
        make_venv
        rm -f "$VENV"/stamp-*
        install_lock "$1"
        install_self
        stamp_of "$1" >"$stamp"
        # What the tests need contains what running needs, at the same versions.
        if [ "$1" = requirements-dev.lock ]; then stamp_of requirements.lock >"$VENV/stamp-requirements.lock"; fi
    fi
    exec 9>&-
}
