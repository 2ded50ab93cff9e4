# make            build the module, its helper and the command into target/dist
#                 CARGOFLAGS are options for each call of cargo, and RUSTFLAGS for each call of rustc. CARGO_BUILD_TARGET is
#                 the machine for which to build. STATIC=0 makes a helper that needs the shared C library
# make install    install them, the man pages, and what systemd, journald, oscap and the shells read (DESTDIR, PREFIX, and the
#                 directories below), with the same variables as make
# make install-bin, install-man, install-doc, install-examples, install-units, install-catalog, install-scap,
#                 install-completions: the parts of make install
# make uninstall  remove them again
# make dist       the source and the crates that it needs as two files in target/tarballs. Unpacked into one directory,
#                 they build without network. SOURCE_DATE_EPOCH sets the time of the files
# make sbom       the crates in each program, as a bill of materials for machines: target/dist/idle-watchdog.cdx.json.
#                 make install-sbom is for packages
# make install-apparmor  install an AppArmor profile for the helper. Read SECURITY.md first
# make selinux    an SELinux policy module for the helper into target/selinux; needs selinux-policy-dev (Debian) or
#                 selinux-policy-devel (Fedora, RHEL)
# make install-selinux  load it, and give the installed helper its label. With DESTDIR it is installed for a package instead.
#                 make uninstall-selinux removes it. Read docs/selinux.md first
# make man        the man pages into target/man; needs scdoc
# make check      run the tests of rings 1 and 2, about eight minutes; as root, installs what it lacks
# make check-old  the same without the system calls that Linux 4.18 lacks. Eight minutes
# make check-vm   run the tests of ring 3, Debian 12 and 13 in QEMU, half an hour; one case: make check-vm CASE=su
#                 RELEASE names other releases of Debian: make check-vm RELEASE='bullseye forky'
# make check-builds  build the product as packagers do, with Debian 13's Rust and an old C library, and the SELinux module; as
#                 root, seven minutes
# make check-targets  build for other machines, 32 bits and big endian too, and run tests there under an emulator; as root
# make deb        the Debian package into target/deb; needs build-essential and debhelper
# make check-deb  build the Debian package in Debian 12 and 13, install and remove it there in many ways; as root, installs
#                 what it lacks, three minutes
# make rpm        the RPM packages into target/rpm; needs rpm-build. RPMFLAGS are options for rpmbuild: packaging/rpm/README.md
# make check-rpm  build the RPM packages in Debian 13, install and remove them there; as root, installs what it lacks, three minutes
# make compare    measure other ways to end idle sessions in the same machines, and write docs/comparison.md; as root, half an hour
# make fuzz       random input for every parser, a minute each; as root, installs what it lacks
# make demo       watch a real ssh session being warned and ended; as root, installs what it lacks
# make pictures   the same, into the picture docs/pictures/demo.svg; as root, installs what it lacks
# make bench      measure the cost of a login, a sleeping session and a survey of all processes; as root, installs what it lacks
# make accuracy   measure how late hundreds of real idle sessions end; as root, installs what it lacks, ten minutes
# make completions  write the completions for the shells (dist/completions) from the description of the command line
# make copyright  write COPYRIGHT, the authors and licences of all crates, from what the crates say
# make deny       check the crates' licences, versions and origin with cargo-deny; advisories: make deny CHECKS=advisories
# make release    check that all files name VERSION=x.y.z and are committed and tagged, and write target/release-files
# make clean      remove all that was built

PREFIX ?= /usr
# The directory in which libpam looks for modules. It is beside libpam itself, in Debian's multiarch or Fedora's
# lib64 directory.
PAMDIR ?= $(shell sh dist/pamdir $(PREFIX))
# RPM reads debug information only from files that can be executed: it needs 0755.
MODULE_MODE ?= 0644
LIBEXECDIR ?= $(PREFIX)/libexec
SBINDIR ?= $(PREFIX)/sbin
DOCDIR ?= $(PREFIX)/share/doc/pam_idle_watchdog
MANDIR ?= $(PREFIX)/share/man
UNITDIR ?= $(PREFIX)/lib/systemd/system
# journald's catalog looks in /usr and /usr/local only.
CATALOGDIR ?= $(PREFIX)/lib/systemd/catalog
BASHCOMPDIR ?= $(PREFIX)/share/bash-completion/completions
FISHCOMPDIR ?= $(PREFIX)/share/fish/vendor_completions.d
APPARMORDIR ?= /etc/apparmor.d
# Where Fedora's packages put policy modules. SELINUXTYPE is the policy for which a package has one.
SELINUXDIR ?= $(PREFIX)/share/selinux
SELINUXTYPE ?= targeted
# Where scap-security-guide puts its content, too.
SCAPDIR ?= $(PREFIX)/share/xml/scap/pam_idle_watchdog
# Debian's zsh reads another directory below /usr than others.
ZSHCOMPDIR ?= $(PREFIX)/share/zsh/$(if $(wildcard $(PREFIX)/share/zsh/vendor-completions),vendor-completions,site-functions)

# Under sudo, the toolchain is in the home directory of the user who called sudo.
TOOLCHAIN := $(shell sh dist/find-cargo 2>/dev/null)
export PATH := $(if $(TOOLCHAIN),$(TOOLCHAIN):)$(PATH)
CARGO ?= cargo
export CARGO
# Without --locked, cargo may choose other versions of the crates than Cargo.lock has.
export CARGOFLAGS ?= --locked
ifneq ($(filter --target%,$(CARGOFLAGS)),)
$(error CARGOFLAGS has $(filter --target%,$(CARGOFLAGS)): set CARGO_BUILD_TARGET or leave it out, because make must know where the programs are)
endif
# Where cargo puts the programs below its target directory.
BUILT := $(if $(CARGO_BUILD_TARGET),$(CARGO_BUILD_TARGET)/)release
# A static helper starts a third faster and needs little more than half of the memory. CONTRIBUTING.md has figures.
STATIC ?= 1
DIST := target/dist
# Where cargo builds. Builds for different C libraries must not share their build scripts.
TARGET_DIR := target
MODULE := $(DIST)/pam_idle_watchdog.so
HELPER := $(DIST)/pam_idle_watchdog_helper
COMMAND := $(DIST)/idle-watchdog
SBOM := $(DIST)/idle-watchdog.cdx.json
# The programs contain this path: the module and the command start the helper there.
export PAM_IDLE_WATCHDOG_HELPER ?= $(LIBEXECDIR)/pam_idle_watchdog_helper

# Under sudo, the new files must belong to the owner of the tree, because they call make next. Those of a Debian release
# in a directory belong to the users of that release.
GIVE_BACK = { [ -z "$$SUDO_USER" ] || \
	find target docs README.md -path target/chroot -prune -o -exec chown -h --reference=Cargo.toml {} +; }

# Without scdoc there are no man pages.
SCDOC ?= $(shell command -v scdoc 2>/dev/null)

SOURCES := Cargo.toml Cargo.lock build.rs $(shell find src -name '*.rs')

all: $(MODULE) $(HELPER) $(COMMAND) $(if $(SCDOC),man)

# What is compiled into the programs. If it changes, the programs must be built again.
COMPILED_IN = $(PAM_IDLE_WATCHDOG_HELPER) $(STATIC) $(CARGO_BUILD_TARGET) $(RUSTFLAGS) $(CARGO_ENCODED_RUSTFLAGS)
$(DIST)/compiled-in: FORCE
	@mkdir -p $(DIST)
	@echo '$(COMPILED_IN)' | cmp -s - $@ || echo '$(COMPILED_IN)' >$@

$(MODULE): $(SOURCES) $(DIST)/compiled-in
	dist/cargo build $(CARGOFLAGS) --release --target-dir $(TARGET_DIR) --lib
	install -D -m 0644 $(TARGET_DIR)/$(BUILT)/libpam_idle_watchdog.so $@

# Helper and command are built without the feature `module`, because it links libpam. One waits for the other, because
# cargo would make it wait anyway.
$(COMMAND): $(SOURCES) $(DIST)/compiled-in | $(HELPER)
	dist/cargo build $(CARGOFLAGS) --release --no-default-features --features command --target-dir $(TARGET_DIR)/programs \
		--bin idle-watchdog
	install -D -m 0755 $(TARGET_DIR)/programs/$(BUILT)/idle-watchdog $@

# A static program at a fixed address is not relocated at its start. A relocation would cost each sleeping helper memory
# pages.
STATIC_FLAGS := -C target-feature=+crt-static -C relocation-model=static
$(HELPER): $(SOURCES) $(DIST)/compiled-in
	dist/cargo rustc $(CARGOFLAGS) --release --no-default-features --target-dir $(TARGET_DIR)/programs \
		--bin pam_idle_watchdog_helper -- $(if $(filter-out 0,$(STATIC)),$(STATIC_FLAGS))
	dist/try-helper $(TARGET_DIR)/programs/$(BUILT)/pam_idle_watchdog_helper $(CARGO_BUILD_TARGET)
	install -D -m 0755 $(TARGET_DIR)/programs/$(BUILT)/pam_idle_watchdog_helper $@

PAGES := $(patsubst man/%.scd,target/man/%,$(wildcard man/*.scd))
# The place of a page depends on its section.
page_path = $(DESTDIR)$(MANDIR)/man$(subst .,,$(suffix $(1)))/$(notdir $(1))

man: $(PAGES)

target/man/%: man/%.scd
	@mkdir -p $(@D)
	$(or $(SCDOC),scdoc) <$< >$@

UNITS := $(wildcard dist/systemd/*)
# The Ansible role. docs/rollout.md leads to it.
ROLE := $(shell find dist/ansible -type f)
SCAP := $(wildcard dist/openscap/*)
# The names of the examples' directories in the source, and below DOCDIR.
MOVED := -e 's|pam\.d-examples|examples/pam.d|g' -e 's|dist/ansible|examples/ansible|g'

# The parts of an installation, for packages. Each builds only what it installs.
PARTS := install-bin install-man install-doc install-examples install-units install-catalog install-scap \
	install-completions

install: $(PARTS)
	@echo "To let journalctl -x explain the records, run: journalctl --update-catalog"
	@echo "To watch sessions that are open already: systemctl daemon-reload && systemctl enable --now idle-watchdog-adopt.timer"

install-bin: $(MODULE) $(HELPER) $(COMMAND)
	install -D -m $(MODULE_MODE) $(MODULE) $(DESTDIR)$(PAMDIR)/pam_idle_watchdog.so
	install -D -m 0755 $(HELPER) $(DESTDIR)$(PAM_IDLE_WATCHDOG_HELPER)
	install -D -m 0755 $(COMMAND) $(DESTDIR)$(SBINDIR)/idle-watchdog

ifneq ($(SCDOC),)
install-man: man
	$(foreach page,$(PAGES),install -D -m 0644 $(page) $(call page_path,$(page)) &&) :
else
install-man:
	@echo "There is no scdoc: the man pages are not installed."
endif

install-doc:
	install -d $(DESTDIR)$(DOCDIR)/docs/pictures
	install -m 0644 CHANGELOG.md SECURITY.md LICENSE-MIT LICENSE-APACHE COPYRIGHT $(DESTDIR)$(DOCDIR)
	install -m 0644 docs/pictures/* $(DESTDIR)$(DOCDIR)/docs/pictures
	$(foreach page,README.md $(wildcard docs/*.md),sed $(MOVED) $(page) >$(DESTDIR)$(DOCDIR)/$(page) && \
		chmod 0644 $(DESTDIR)$(DOCDIR)/$(page) &&) :

install-examples:
	install -d $(DESTDIR)$(DOCDIR)/examples/pam.d
	install -m 0644 pam.d-examples/* $(DESTDIR)$(DOCDIR)/examples/pam.d
	$(foreach file,$(ROLE),install -D -m 0644 $(file) $(DESTDIR)$(DOCDIR)/examples/$(file:dist/%=%) &&) :

install-units:
	install -d $(DESTDIR)$(UNITDIR)
	$(foreach unit,$(UNITS),sed 's|@SBINDIR@|$(SBINDIR)|' $(unit) >$(DESTDIR)$(UNITDIR)/$(notdir $(unit)) && \
		chmod 0644 $(DESTDIR)$(UNITDIR)/$(notdir $(unit)) &&) :

# No part of `make install`, because the program that writes it takes half a minute to build.
install-sbom: sbom
	install -D -m 0644 $(SBOM) $(DESTDIR)$(DOCDIR)/$(notdir $(SBOM))

install-catalog:
	install -D -m 0644 dist/journal/pam_idle_watchdog.catalog $(DESTDIR)$(CATALOGDIR)/pam_idle_watchdog.catalog

install-scap:
	install -d $(DESTDIR)$(SCAPDIR)
	$(foreach file,$(SCAP),sed -e 's|@SBINDIR@|$(SBINDIR)|' -e 's|@PAMDIR@|$(PAMDIR)|' -e 's|@HELPER@|$(PAM_IDLE_WATCHDOG_HELPER)|' \
		$(file) >$(DESTDIR)$(SCAPDIR)/$(notdir $(file)) && \
		chmod $(if $(suffix $(file)),0644,0755) $(DESTDIR)$(SCAPDIR)/$(notdir $(file)) &&) :

# No part of `make install`, because most machines have no AppArmor.
install-apparmor:
	install -d $(DESTDIR)$(APPARMORDIR)/abstractions/base.d
	sed 's|@HELPER@|$(PAM_IDLE_WATCHDOG_HELPER)|' dist/apparmor/pam_idle_watchdog_helper \
		>$(DESTDIR)$(APPARMORDIR)/pam_idle_watchdog_helper
	chmod 0644 $(DESTDIR)$(APPARMORDIR)/pam_idle_watchdog_helper
	install -m 0644 dist/apparmor/base.d/pam_idle_watchdog_helper $(DESTDIR)$(APPARMORDIR)/abstractions/base.d

SELINUX := target/selinux
POLICY_MAKEFILE := /usr/share/selinux/devel/Makefile
INSTALLED_POLICY := $(DESTDIR)$(SELINUXDIR)/packages/$(SELINUXTYPE)/pam_idle_watchdog.pp.bz2
INSTALLED_INTERFACE := $(DESTDIR)$(SELINUXDIR)/devel/include/distributed/pam_idle_watchdog.if

# Always built again, because a module fits only the policy whose macros it was built with. That policy's Makefile must not
# get our variables.
selinux:
	@[ -e $(POLICY_MAKEFILE) ] || { echo "There is no $(POLICY_MAKEFILE):" \
		"install selinux-policy-dev (Debian) or selinux-policy-devel (Fedora, RHEL)" >&2; exit 2; }
	rm -rf $(SELINUX)
	mkdir -p $(SELINUX)
	cp dist/selinux/pam_idle_watchdog.te dist/selinux/pam_idle_watchdog.if $(SELINUX)
	sed 's|@HELPER@|$(subst .,\\.,$(PAM_IDLE_WATCHDOG_HELPER))|' dist/selinux/pam_idle_watchdog.fc >$(SELINUX)/pam_idle_watchdog.fc
	cd $(SELINUX) && MAKEFLAGS= $(MAKE) -f $(POLICY_MAKEFILE) pam_idle_watchdog.pp

# No part of `make install`, because most machines do not enforce SELinux.
ifeq ($(DESTDIR),)
install-selinux: selinux
	semodule -i $(SELINUX)/pam_idle_watchdog.pp
	[ ! -e $(PAM_IDLE_WATCHDOG_HELPER) ] || restorecon -v $(PAM_IDLE_WATCHDOG_HELPER)

uninstall-selinux:
	semodule -r pam_idle_watchdog
	[ ! -e $(PAM_IDLE_WATCHDOG_HELPER) ] || restorecon -v $(PAM_IDLE_WATCHDOG_HELPER)
else
install-selinux: selinux
	install -d $(dir $(INSTALLED_POLICY))
	bzip2 -9 <$(SELINUX)/pam_idle_watchdog.pp >$(INSTALLED_POLICY)
	chmod 0644 $(INSTALLED_POLICY)
	install -D -m 0644 dist/selinux/pam_idle_watchdog.if $(INSTALLED_INTERFACE)

uninstall-selinux:
	rm -f $(INSTALLED_POLICY) $(INSTALLED_INTERFACE)
endif

install-completions:
	install -D -m 0644 dist/completions/idle-watchdog.bash $(DESTDIR)$(BASHCOMPDIR)/idle-watchdog
	install -D -m 0644 dist/completions/_idle-watchdog $(DESTDIR)$(ZSHCOMPDIR)/_idle-watchdog
	install -D -m 0644 dist/completions/idle-watchdog.fish $(DESTDIR)$(FISHCOMPDIR)/idle-watchdog.fish

# The control groups of the watchdogs, in each hierarchy. They remain while there are watchdogs.
OWN_GROUPS := $(foreach group,idle_watchdog unified/idle_watchdog systemd/idle_watchdog freezer/idle_watchdog-*,$(DESTDIR)/sys/fs/cgroup/$(group))

# Remove the line from /etc/pam.d first, because a line without its module fails the login. Disable the timer first.
uninstall:
	rm -f $(DESTDIR)$(PAMDIR)/pam_idle_watchdog.so $(DESTDIR)$(PAM_IDLE_WATCHDOG_HELPER) $(DESTDIR)$(SBINDIR)/idle-watchdog
	rm -f $(foreach page,$(PAGES),$(call page_path,$(page))) $(DESTDIR)$(CATALOGDIR)/pam_idle_watchdog.catalog
	rm -f $(DESTDIR)$(BASHCOMPDIR)/idle-watchdog $(DESTDIR)$(ZSHCOMPDIR)/_idle-watchdog
	rm -f $(DESTDIR)$(FISHCOMPDIR)/idle-watchdog.fish
	rm -rf $(DESTDIR)$(DOCDIR)
	rm -f $(foreach file,$(SCAP),$(DESTDIR)$(SCAPDIR)/$(notdir $(file)))
	rmdir $(DESTDIR)$(SCAPDIR) 2>/dev/null || :
	rm -f $(foreach directory,. abstractions/base.d,$(DESTDIR)$(APPARMORDIR)/$(directory)/pam_idle_watchdog_helper)
	rm -f $(foreach unit,$(UNITS),$(DESTDIR)$(UNITDIR)/$(notdir $(unit)))
	for group in $(OWN_GROUPS); do rmdir "$$group" 2>/dev/null || :; done
	@for module in $(DESTDIR)/var/lib/selinux/*/active/modules/400/pam_idle_watchdog; do \
		[ ! -e "$$module" ] || echo "The SELinux policy module is still loaded. When no watched session is open, run: make uninstall-selinux"; \
	done

dist: rust
	dist/tarballs

# The programs for crates run here, also if the product is for another machine.
CRATES = env -u CARGO_BUILD_TARGET $(CARGO) run $(CARGOFLAGS) --quiet --example crates --

# Always written again, because the time depends on SOURCE_DATE_EPOCH and the version on rustc.
sbom: rust
	@mkdir -p $(DIST)
	$(CRATES) sbom >$(SBOM).new
	mv $(SBOM).new $(SBOM)

copyright: rust
	$(CRATES) copyright >target/COPYRIGHT
	cp target/COPYRIGHT COPYRIGHT

deny: rust
	dist/deny $(CHECKS)

release:
	dist/release '$(VERSION)'

deb: dist
	packaging/build-deb

rpm: dist
	packaging/build-rpm $(RPMFLAGS)

# If Rust is too old, this says so before anything is installed for tests. dist/cargo does the same for a build.
rust:
	@sh dist/find-cargo >/dev/null

# The product and the tests have separate build directories, so their cargo calls need not wait for each other.
tests-built: rust
	$(CARGO) test $(CARGOFLAGS) --no-run --lib --test '*'

completions: rust
	$(CARGO) run $(CARGOFLAGS) --quiet --example completions

check: rust
	@printf '\n=== %s\n' "1 of 5: install what the tests need (up to two minutes the first time)"
	@sh tests/prepare "make check" names shells openssh && \
		printf '\n=== %s\n' "2 of 5: build the product as it is shipped, and the tests (a minute and a half)" && \
		$(MAKE) -j3 all tests-built && sh tests/all; status=$$?; $(GIVE_BACK); exit $$status

check-old: rust
	@printf '\n=== %s\n' "1 of 5: install what the tests need (up to two minutes the first time)"
	@sh tests/prepare "make check-old" names shells openssh && \
		printf '\n=== %s\n' "2 of 5: build the product as it is shipped, and the tests (a minute and a half)" && \
		$(MAKE) -j3 all tests-built && tests/old-kernel sh tests/all; status=$$?; $(GIVE_BACK); exit $$status

check-vm: rust
	@printf '\n=== %s\n' "1 of 3: install what the tests need (up to two minutes the first time)"
	@sh tests/prepare "make check-vm" vm && \
		printf '\n=== %s\n' "2 of 3: build the product as it is shipped, and a Debian package (five minutes)" && \
		$(MAKE) -j2 all && $(MAKE) dist && tests/deb/build bookworm && RELEASE='$(RELEASE)' tests/vm/all $(CASE); \
		status=$$?; $(GIVE_BACK); exit $$status

check-builds: rust
	sh tests/prepare "make check-builds" chroot && tests/builds; status=$$?; $(GIVE_BACK); exit $$status

check-targets: rust
	sh tests/prepare "make check-targets" chroot && tests/targets $(MACHINES); status=$$?; $(GIVE_BACK); exit $$status

check-deb: rust
	sh tests/prepare "make check-deb" chroot && $(MAKE) dist && tests/deb/all; status=$$?; $(GIVE_BACK); exit $$status

check-rpm: rust
	sh tests/prepare "make check-rpm" chroot && $(MAKE) dist && tests/rpm/all; status=$$?; $(GIVE_BACK); exit $$status

compare: rust
	sh tests/prepare "make compare" vm && $(MAKE) all && \
		tests/vm/compare; status=$$?; $(GIVE_BACK); exit $$status

fuzz: rust
	fuzz/run; status=$$?; $(GIVE_BACK); exit $$status

demo: rust
	sh tests/prepare "make demo" && $(MAKE) all && \
		dist/cargo run $(CARGOFLAGS) --release --target-dir target --quiet --example demo; status=$$?; $(GIVE_BACK); exit $$status

pictures: rust
	sh tests/prepare "make pictures" && $(MAKE) all && \
		dist/cargo run $(CARGOFLAGS) --release --target-dir target --quiet --example demo -- docs/pictures/demo.svg; status=$$?; $(GIVE_BACK); exit $$status

bench: rust
	sh tests/prepare "make bench" && $(MAKE) all && \
		dist/cargo bench $(CARGOFLAGS) --target-dir target --bench cost; status=$$?; $(GIVE_BACK); exit $$status

accuracy: rust
	sh tests/prepare "make accuracy" openssh && $(MAKE) all && \
		dist/cargo bench $(CARGOFLAGS) --target-dir target --quiet --bench accuracy; status=$$?; $(GIVE_BACK); exit $$status

clean:
	@[ ! -e target/chroot ] || [ "$$(id -u)" = 0 ] || { echo "target/chroot belongs to root: sudo make clean" >&2; exit 2; }
	$(CARGO) clean

# A page is removed if scdoc failed on it.
.DELETE_ON_ERROR:

FORCE:

.PHONY: FORCE all rust man install $(PARTS) install-sbom install-apparmor selinux install-selinux uninstall-selinux uninstall dist sbom copyright deny release deb rpm check-rpm tests-built completions check check-old check-vm check-builds check-targets check-deb compare fuzz demo pictures bench accuracy clean
