# make            build the module, its helper and the command into target/dist
# make install    install them, the man pages, and what systemd, journald and the shells read (DESTDIR, PREFIX, and the
#                 directories below)
# make install-bin, install-man, install-doc, install-examples, install-units, install-catalog, install-completions
#                 the parts of make install
# make uninstall  remove them again
# make dist       the source and the crates that it needs as two files in target/tarballs. Unpacked into one directory,
#                 they build without network. SOURCE_DATE_EPOCH sets the time of the files
# make man        the man pages into target/man; needs scdoc
# make check      run the tests of rings 1 and 2, about eight minutes; as root, installs what it lacks
# make check-vm   run the tests of ring 3, Debian 12 and 13 in QEMU, half an hour; one case: make check-vm CASE=su
# make deb        the Debian package into target/deb; needs build-essential and debhelper
# make check-deb  build the Debian package in Debian 12 and 13, install and remove it there in many ways; as root, installs
#                 what it lacks, three minutes
# make compare    measure other ways to end idle sessions in the same machines, and write docs/comparison.md; as root, half an hour
# make fuzz       random input for every parser, a minute each; as root, installs what it lacks
# make demo       watch a real ssh session being warned and ended; as root, installs what it lacks
# make pictures   the same, into the picture docs/pictures/demo.svg; as root, installs what it lacks
# make bench      measure the cost of a login, a sleeping session and a survey of all processes; as root, installs what it lacks
# make accuracy   measure how late hundreds of real idle sessions end; as root, installs what it lacks, ten minutes
# make completions  write the completions for the shells (dist/completions) from the description of the command line
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
# Debian's zsh reads another directory below /usr than others.
ZSHCOMPDIR ?= $(PREFIX)/share/zsh/$(if $(wildcard $(PREFIX)/share/zsh/vendor-completions),vendor-completions,site-functions)

# Under sudo, the toolchain is in the home directory of the user who called sudo.
TOOLCHAIN := $(shell sh dist/find-cargo)
export PATH := $(if $(TOOLCHAIN),$(TOOLCHAIN):)$(PATH)
CARGO ?= cargo
DIST := target/dist
MODULE := $(DIST)/pam_idle_watchdog.so
HELPER := $(DIST)/pam_idle_watchdog_helper
COMMAND := $(DIST)/idle-watchdog
# The programs contain this path: the module and the command start the helper there.
export PAM_IDLE_WATCHDOG_HELPER ?= $(LIBEXECDIR)/pam_idle_watchdog_helper

# Under sudo, the new files must belong to the owner of the tree, because they call make next.
GIVE_BACK = { [ -z "$$SUDO_USER" ] || chown -hR --reference=Cargo.toml target docs README.md; }

# Without scdoc there are no man pages.
SCDOC ?= $(shell command -v scdoc 2>/dev/null)

SOURCES := Cargo.toml Cargo.lock build.rs $(shell find src -name '*.rs')

all: $(MODULE) $(HELPER) $(COMMAND) $(if $(SCDOC),man)

# If the path of the helper changes, the programs must be built again.
$(DIST)/helper-path: FORCE
	@mkdir -p $(DIST)
	@echo $(PAM_IDLE_WATCHDOG_HELPER) | cmp -s - $@ || echo $(PAM_IDLE_WATCHDOG_HELPER) >$@

$(MODULE): $(SOURCES) $(DIST)/helper-path
	$(CARGO) build --locked --release --lib --bin idle-watchdog
	install -D -m 0644 target/release/libpam_idle_watchdog.so $@

$(COMMAND): $(MODULE)
	install -D -m 0755 target/release/idle-watchdog $@

# This is a cargo call of its own, because rustc cannot make a cdylib of static code. The program is at a fixed
# address, so nothing is relocated at its start. A relocation would cost each sleeping helper memory pages.
$(HELPER): $(SOURCES)
	$(CARGO) rustc --locked --release --no-default-features --target-dir target/helper \
		--bin pam_idle_watchdog_helper -- -C target-feature=+crt-static -C relocation-model=static
	install -D -m 0755 target/helper/release/pam_idle_watchdog_helper $@

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
# The names of the examples' directories in the source, and below DOCDIR.
MOVED := -e 's|pam\.d-examples|examples/pam.d|g' -e 's|dist/ansible|examples/ansible|g'

# The parts of an installation, for packages. Each builds only what it installs.
PARTS := install-bin install-man install-doc install-examples install-units install-catalog install-completions

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
	install -m 0644 CHANGELOG.md SECURITY.md LICENSE-MIT LICENSE-APACHE $(DESTDIR)$(DOCDIR)
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

install-catalog:
	install -D -m 0644 dist/journal/pam_idle_watchdog.catalog $(DESTDIR)$(CATALOGDIR)/pam_idle_watchdog.catalog

install-completions:
	install -D -m 0644 dist/completions/idle-watchdog.bash $(DESTDIR)$(BASHCOMPDIR)/idle-watchdog
	install -D -m 0644 dist/completions/_idle-watchdog $(DESTDIR)$(ZSHCOMPDIR)/_idle-watchdog
	install -D -m 0644 dist/completions/idle-watchdog.fish $(DESTDIR)$(FISHCOMPDIR)/idle-watchdog.fish

# The control group of the watchdogs, in each hierarchy. It remains while there are watchdogs.
OWN_GROUPS := $(foreach place,. unified systemd,$(DESTDIR)/sys/fs/cgroup/$(place)/idle_watchdog)

# Remove the line from /etc/pam.d first, because a line without its module fails the login. Disable the timer first.
uninstall:
	rm -f $(DESTDIR)$(PAMDIR)/pam_idle_watchdog.so $(DESTDIR)$(PAM_IDLE_WATCHDOG_HELPER) $(DESTDIR)$(SBINDIR)/idle-watchdog
	rm -f $(foreach page,$(PAGES),$(call page_path,$(page))) $(DESTDIR)$(CATALOGDIR)/pam_idle_watchdog.catalog
	rm -f $(DESTDIR)$(BASHCOMPDIR)/idle-watchdog $(DESTDIR)$(ZSHCOMPDIR)/_idle-watchdog
	rm -f $(DESTDIR)$(FISHCOMPDIR)/idle-watchdog.fish
	rm -rf $(DESTDIR)$(DOCDIR)
	rm -f $(foreach unit,$(UNITS),$(DESTDIR)$(UNITDIR)/$(notdir $(unit)))
	for group in $(OWN_GROUPS); do rmdir "$$group" 2>/dev/null || :; done

dist:
	dist/tarballs

deb: dist
	packaging/build-deb

# The product and the tests have separate build directories, so their cargo calls need not wait for each other.
tests-built:
	$(CARGO) test --locked --no-run --lib --test '*'

completions:
	$(CARGO) run --locked --quiet --example completions

check:
	@printf '\n=== %s\n' "1 of 5: install what the tests need (up to two minutes the first time)"
	@sh tests/prepare "make check" names shells openssh && \
		printf '\n=== %s\n' "2 of 5: build the product as it is shipped, and the tests (a minute and a half)" && \
		$(MAKE) -j3 all tests-built && sh tests/all; status=$$?; $(GIVE_BACK); exit $$status

check-vm:
	@printf '\n=== %s\n' "1 of 3: install what the tests need (up to two minutes the first time)"
	@sh tests/prepare "make check-vm" vm && \
		printf '\n=== %s\n' "2 of 3: build the product as it is shipped, and a Debian package (three minutes)" && \
		$(MAKE) -j2 all && $(MAKE) dist && tests/deb/build bookworm && tests/vm/all $(CASE); status=$$?; $(GIVE_BACK); exit $$status

check-deb:
	sh tests/prepare "make check-deb" deb && $(MAKE) dist && tests/deb/all; status=$$?; $(GIVE_BACK); exit $$status

compare:
	sh tests/prepare "make compare" vm && $(MAKE) all && \
		tests/vm/compare; status=$$?; $(GIVE_BACK); exit $$status

fuzz:
	fuzz/run; status=$$?; $(GIVE_BACK); exit $$status

demo:
	sh tests/prepare "make demo" && $(MAKE) all && \
		$(CARGO) run --locked --release --quiet --example demo; status=$$?; $(GIVE_BACK); exit $$status

pictures:
	sh tests/prepare "make pictures" && $(MAKE) all && \
		$(CARGO) run --locked --release --quiet --example demo -- docs/pictures/demo.svg; status=$$?; $(GIVE_BACK); exit $$status

bench:
	sh tests/prepare "make bench" && $(MAKE) all && \
		$(CARGO) bench --locked --bench cost; status=$$?; $(GIVE_BACK); exit $$status

accuracy:
	sh tests/prepare "make accuracy" openssh && $(MAKE) all && \
		$(CARGO) bench --locked --quiet --bench accuracy; status=$$?; $(GIVE_BACK); exit $$status

clean:
	$(CARGO) clean

# A page is removed if scdoc failed on it.
.DELETE_ON_ERROR:

FORCE:

.PHONY: FORCE all man install $(PARTS) uninstall dist deb tests-built completions check check-deb check-vm compare fuzz demo pictures bench accuracy clean
