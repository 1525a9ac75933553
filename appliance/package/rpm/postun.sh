# shellcheck shell=sh
# After an upgrade the new program takes over at once; configuration and state stay.
if [ "$1" -ge 1 ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload >/dev/null 2>&1 || :
    systemctl try-restart skybridge.service >/dev/null 2>&1 || :
fi
