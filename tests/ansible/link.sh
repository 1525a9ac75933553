#!/bin/sh
# Makes the checkout visible to Ansible as the collection that it is: target/ansible is then a collections path.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$root/target/ansible/ansible_collections/skybridge"
ln -sfn ../../../../ansible "$root/target/ansible/ansible_collections/skybridge/endpoint"
