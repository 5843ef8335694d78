#!/bin/sh
# Finds a Chromium for the browser tests, or installs one: Debian's package where apt-get may, else Playwright's own.
set -eu
for name in "${CHROMIUM:-}" chromium chromium-browser google-chrome-stable google-chrome; do
    if [ -n "$name" ] && command -v "$name" >/dev/null 2>&1; then exit 0; fi
done
echo "Installing Chromium for the browser tests (once) …"
if command -v apt-get >/dev/null 2>&1; then
    sudo=""
    [ "$(id -u)" = 0 ] || sudo="sudo -n"
    export DEBIAN_FRONTEND=noninteractive
    if $sudo apt-get install --yes --quiet --quiet --no-install-recommends chromium >/dev/null 2>&1 ||
        { $sudo apt-get update --quiet --quiet >/dev/null 2>&1 &&
            $sudo apt-get install --yes --quiet --quiet --no-install-recommends chromium >/dev/null; }; then
        exit 0
    fi
fi
"${PYTHON:-python3}" -m playwright install --with-deps chromium ||
    { echo "No Chromium could be found or installed. Install one and name it: make test CHROMIUM=/path/to/chromium" >&2; exit 1; }
