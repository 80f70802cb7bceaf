# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# The whole user interface of the build. `make help` says what there is.

BUILD ?= build
PREFIX ?= /usr/local

# Building needs packages; they are installed where they are missing and we may.
export OPENLIS_BUILD := $(abspath $(BUILD))

.PHONY: all help deps demo shell check check-all fuzz bench dkms-deb install clean

all: $(BUILD)/release/build.ninja
	ninja -C $(BUILD)/release

help:
	@echo 'make            build the lis command (in $(BUILD)/release)'
	@echo 'make demo       boot an unmodified Linux guest and show the main job'
	@echo 'make shell      the same, and leave you in the guest'"'"'s shell'
	@echo 'make check      every test but the long ones'
	@echo 'make check-all  the whole matrix of guests; takes long'
	@echo 'make fuzz       every fuzzer for SECONDS (600), as many at a time as there are CPUs'
	@echo 'make bench      figures beside their peers and limits'
	@echo 'make dkms-deb   a Debian package of the kernel modules, for guests (docs/modules.md)'
	@echo 'make install    install under PREFIX (now $(PREFIX))'
	@echo 'make deps       only install the packages the build needs'
	@echo 'make clean      remove $(BUILD)'

deps:
	@tools/deps build

$(BUILD)/release/build.ninja: | deps
	meson setup --buildtype=release -Db_ndebug=false --prefix=$(PREFIX) $(BUILD)/release

# No more than what they show.
demo shell: $(BUILD)/release/build.ninja
	@ninja -C $(BUILD)/release cli/lis
	@tools/deps guest modules
	@tools/demo $(if $(filter shell,$@),--shell)

check check-all: deps
	@tools/deps guest test modules
	@tests/run $(if $(filter check-all,$@),--all)

fuzz: SECONDS = 600
fuzz: deps
	@tools/deps test
	@fuzz/run --seconds $(SECONDS) --jobs $$(nproc)

bench: all
	@tools/deps guest modules bench
	@bench/run

dkms-deb:
	@tools/dkms-deb $(BUILD)

install: all
	meson install -C $(BUILD)/release --no-rebuild

clean:
	rm -rf $(BUILD)
