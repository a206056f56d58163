.PHONY: bench-create vm setup image rootfs-void runtime-bundle test test-ways check verify verify-void clean

# A running VM named testbox, from nothing.
vm: setup
	scripts/first-vm

setup:
	scripts/setup

# The Debian image, in the cache; built by a daemon that is stopped again if none ran.
image: setup
	scripts/image

# An image void-exp of Void Linux; VOID_TARBALL=FILE names a root tarball on this host, else it is fetched.
rootfs-void: setup
	scripts/rootfs-void

# All that VMs are made from, in runtime/: of the image of this host, or with
# RUNTIME_MANIFEST=FILE the one that file names. See docs/guest-image.md.
runtime-bundle: setup
	scripts/runtime-bundle

# One more than cores: tests with guests also wait.
VM_PROCESSES = $(shell expr $$(nproc) + 1)

test:
	scripts/setup --dev
	scripts/check
	scripts/image
	.venv/bin/pytest tests/unit tests/agent tests/host plugins --numprocesses auto --maxprocesses 4 --dist worksteal
	.venv/bin/pytest tests/vm --numprocesses $(VM_PROCESSES) --maxprocesses 4

# The tests with guests again, those that are run in warm guests only in booted ones too.
test-ways:
	scripts/setup --dev
	scripts/image
	BANGER_TEST_WAYS=all .venv/bin/pytest tests/vm --numprocesses $(VM_PROCESSES) --maxprocesses 4

# The smoke test for a live host; ARGS="--nat" also tries the way out.
verify: setup
	./verify.sh $(ARGS)

# The same with the image that rootfs-void makes.
verify-void: setup
	scripts/verify-void $(ARGS)

# How fast VMs are made here: ARGS="--warm --runs 10".
bench-create: setup
	.venv/bin/banger bench create $(ARGS)

check:
	scripts/setup --dev
	scripts/check

clean:
	rm -rf .venv .cache guest-agent/build *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
