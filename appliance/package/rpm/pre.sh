# shellcheck shell=sh
# Before the files: their group must be there. From standard input, since the packaged file is not.
if command -v systemd-sysusers >/dev/null 2>&1; then
    systemd-sysusers - <<'SYSUSERS'
u skybridge - "Skybridge" /var/lib/skybridge
g skybridge-control -
m skybridge skybridge-control
SYSUSERS
fi
