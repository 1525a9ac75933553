#!/bin/bash
# What of the Ansible collection is checked on every change: yamllint, ansible-lint's production profile, the syntax of every playbook with
# every inventory, and tests/ansible/check.py, which says what it does.
#   tests/ansible/lint.sh        (make ansible-lint; needs root and a built skybridge)
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
"$root/tests/setup.sh" ansible
"$root/tests/ansible/link.sh"
export PATH="$root/target/ansible-venv/bin:$PATH:/usr/sbin:/sbin"
export ANSIBLE_COLLECTIONS_PATH="$root/target/ansible" ANSIBLE_LOCALHOST_WARNING=0 PYTHONDONTWRITEBYTECODE=1

cd "$root/ansible"
yamllint --strict .
echo "yamllint: nothing to say"
ansible-lint --offline --profile production --strict --nocolor
for inventory in inventories/*; do
    for play in playbooks/*.yml; do
        ansible-playbook --syntax-check -i "$inventory" -e skybridge_hosts=all "$play" >/dev/null
    done
    echo "syntax of every playbook with $inventory: good"
done
python "$root/tests/ansible/check.py"
