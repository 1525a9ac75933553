# shellcheck shell=sh
# On removal the daemon stops and takes everything back that keeps traffic from leaving in clear.
if [ "$1" -eq 0 ]; then
    if [ -d /run/systemd/system ]; then
        systemctl --no-reload disable --now skybridge.service >/dev/null 2>&1 || :
    fi
    skybridge cleanup >/dev/null 2>&1 || :
fi
