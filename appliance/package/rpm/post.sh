# shellcheck shell=sh
# The folders, on the first installation only: what the administrator changes later stays. Enabling is left to presets, as
# everywhere in this family; sysusers, tmpfiles and the reload of units are systemd's own file triggers.
if [ "$1" -eq 1 ]; then
    mkdir -p /etc/skybridge/conf.d /etc/skybridge/credentials
    chown root:skybridge /etc/skybridge /etc/skybridge/conf.d
    chmod 0750 /etc/skybridge /etc/skybridge/conf.d
    chmod 0700 /etc/skybridge/credentials
    systemctl --no-reload preset skybridge.service >/dev/null 2>&1 || :
fi
if [ -d /run/systemd/system ]; then
    /usr/lib/systemd/systemd-sysctl --prefix=/net/ipv4/ip_forward >/dev/null 2>&1 || :
fi
