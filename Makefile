# Two commands for a newcomer on a fresh Debian or Ubuntu: `make demo` and `make test`.
# They install what they need (as root or by sudo) and nothing that is there already.

export PATH := $(PATH):/usr/sbin:/sbin
export SKYBRIDGE_PYTHON := $(CURDIR)/target/python/bin/python
CARGO ?= cargo
FUZZ_SECONDS ?= 5

.PHONY: help build demo test test-long bench lint doc fuzz clean terraform-check terraform-boot docs-check ansible-lint ansible-test \
	deb deb-arm64 rpm package-test package-boot rpm-test image image-test image-boot image-twice

help:
	@echo "make demo       two daemons join a simulated office and cloud; every check is a row"
	@echo "make test       install what the tests need and run them all"
	@echo "make test-long  the same with 10,000 seeds, soak, long fuzzing, and the package, the image and the plays on booted machines"
	@echo "make bench      Skybridge beside other tunnels and plain routing; writes docs/performance.*"
	@echo "make lint       format, clippy with warnings denied, documentation"
	@echo "make deb        the Debian package, in target/package; make rpm the other one"
	@echo "make deb-arm64        the Debian package for arm64, cross-built on Debian 12"
	@echo "make package-test     installs, upgrades, removes and purges it in fresh Debian 12 and 13, and lint"
	@echo "make rpm-test         the other one, as far as that can be tried on Debian"
	@echo "make package-boot     the service under a booted systemd, in a machine under qemu (slow)"
	@echo "make image      the appliance's disk image, in target/image"
	@echo "make image-test       builds it and looks into it"
	@echo "make image-boot       boots it under qemu: traffic, restart, power cut, update, rollback (slow, root)"
	@echo "make image-twice      builds it twice and compares (slow)"
	@echo "make terraform-check  the modules of appliance/terraform, with Terraform and without a cloud"
	@echo "make ansible-lint     the collection's lint, its examples through skybridge check, its files through their servers"
	@echo "make ansible-test     its plays on booted Debian 12 and 13, from nothing to traffic to nothing (slow)"
	@echo "make terraform-boot  boots the image with the user-data of the AWS module; slow, as root"
	@echo "make docs-check  runs the commands of the documents as they are written"
	@echo "make fuzz       every fuzz target for FUZZ_SECONDS=$(FUZZ_SECONDS) seconds"

build:
	@tests/setup.sh build
	$(CARGO) build --locked --release

demo:
	@tests/setup.sh demo
	$(CARGO) build --locked --release
	target/release/skybridge demo $(DEMO_FLAGS)

test:
	@tests/setup.sh test
	$(CARGO) test --locked

test-long: export SKYBRIDGE_LONG = 1
test-long:
	@tests/setup.sh test
	$(CARGO) test --locked
	$(MAKE) fuzz FUZZ_SECONDS=120
	$(MAKE) rpm package-boot image-twice image-boot ansible-test

bench:
	@tests/setup.sh bench
	$(CARGO) bench --locked --bench ike -- --json docs/performance-ike.json
	$(CARGO) bench --locked --bench tunnels -- $(BENCH_FLAGS)

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items

fuzz:
	@tests/setup.sh test
	tests/fuzz/run.sh $(FUZZ_SECONDS)

deb:
	@tests/setup.sh package
	appliance/package/build.sh deb

deb-arm64:
	@tests/setup.sh arm64
	appliance/package/build.sh deb --arch arm64

rpm:
	@tests/setup.sh rpm
	appliance/package/build.sh rpm

rpm-test: rpm
	[ -s target/package/base/bookworm.tar ] || tests/package/chroot.sh bookworm
	tests/package/rpm.sh

package-test: deb
	tests/package/inspect.py
	tests/package/chroot.sh

package-boot: deb
	@tests/setup.sh image
	tests/package/boot.py

image: deb
	@tests/setup.sh image
	appliance/image/build.sh

image-test: image
	tests/image/inspect_image.py
	tests/image/loader.py

image-boot: image
	tests/image/boot.py

image-twice: deb
	@tests/setup.sh image
	tests/image/reproducible.sh

docs-check:
	@tests/setup.sh docs
	@[ -x target/release/skybridge ] || [ -x target/debug/skybridge ] || $(CARGO) build --locked
	python3 docs/topology.py --check
	python3 tests/docs/commands.py

terraform-check:
	@tests/setup.sh terraform
	@[ -x target/release/skybridge ] || [ -x target/debug/skybridge ] || $(CARGO) build --locked
	target/terraform/python/bin/python tests/terraform/check.py

terraform-boot: image
	@tests/setup.sh terraform
	target/terraform/python/bin/python tests/terraform/boot.py

ansible-lint:
	@[ -x target/release/skybridge ] || [ -x target/debug/skybridge ] || $(CARGO) build --locked
	tests/ansible/lint.sh

ansible-test:
	@tests/setup.sh ansible
	tests/ansible/link.sh
	target/ansible-venv/bin/python tests/ansible/play.py $(ANSIBLE_FLAGS)

clean:
	$(CARGO) clean
