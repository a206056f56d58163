.PHONY: vm setup image test check clean

# A running VM named testbox, from nothing.
vm: setup
	scripts/first-vm

setup:
	scripts/setup

# The Debian image, in the cache; built by a daemon that is stopped again if none ran.
image: setup
	scripts/image

test:
	scripts/setup --dev
	scripts/check
	scripts/image
	.venv/bin/pytest tests

check:
	scripts/setup --dev
	scripts/check

clean:
	rm -rf .venv guest-agent/build *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
