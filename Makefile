# make            build the module, its helper and the command into target/dist
# make install    install them, and the man pages (DESTDIR, PREFIX, PAMDIR, LIBEXECDIR, SBINDIR, MANDIR, DOCDIR)
# make uninstall  remove them again
# make man        the man pages into target/man; needs scdoc
# make check      run the tests of rings 1 and 2, about five minutes; as root, installs what it lacks
# make check-vm   run the tests of ring 3, Debian 12 and 13 in QEMU, a quarter of an hour; one case: make check-vm CASE=su
# make compare    measure what else there is for it, in the same machines, and write docs/comparison.md; as root, half an hour
# make fuzz       every parser fed with garbage, a minute each; as root, installs what it lacks
# make demo       watch a real ssh session being warned and ended; as root, installs what it lacks
# make pictures   the same, drawn into docs/pictures/demo.svg; as root, installs what it lacks
# make bench      what a login, a sleeping session and a survey of all processes cost; as root, installs what it lacks
# make accuracy   how late hundreds of real idle sessions end; as root, installs what it lacks, ten minutes
# make clean      remove all that was built

PREFIX ?= /usr
# Where libpam looks for modules: beside libpam itself, as Debian's multiarch and Fedora's lib64 have it.
PAMDIR ?= $(shell sh dist/pamdir $(PREFIX))
LIBEXECDIR ?= $(PREFIX)/libexec
SBINDIR ?= $(PREFIX)/sbin
DOCDIR ?= $(PREFIX)/share/doc/pam_idle_watchdog
MANDIR ?= $(PREFIX)/share/man

# Under sudo the toolchain is in the home of whoever called it.
TOOLCHAIN := $(shell sh dist/find-cargo)
export PATH := $(if $(TOOLCHAIN),$(TOOLCHAIN):)$(PATH)
CARGO ?= cargo
DIST := target/dist
MODULE := $(DIST)/pam_idle_watchdog.so
HELPER := $(DIST)/pam_idle_watchdog_helper
COMMAND := $(DIST)/idle-watchdog
# Compiled into the module and the command: where they find the helper.
export PAM_IDLE_WATCHDOG_HELPER ?= $(LIBEXECDIR)/pam_idle_watchdog_helper

# After sudo, what was made must be the tree's owner's, who calls make next.
GIVE_BACK = { [ -z "$$SUDO_USER" ] || chown -hR --reference=Cargo.toml target docs README.md; }

# Without it there are no man pages.
SCDOC ?= $(shell command -v scdoc 2>/dev/null)

SOURCES := Cargo.toml Cargo.lock build.rs $(shell find src -name '*.rs')

all: $(MODULE) $(HELPER) $(COMMAND) $(if $(SCDOC),man)

# Built for another place, it must be built again.
$(DIST)/helper-path: FORCE
	@mkdir -p $(DIST)
	@echo $(PAM_IDLE_WATCHDOG_HELPER) | cmp -s - $@ || echo $(PAM_IDLE_WATCHDOG_HELPER) >$@

$(MODULE): $(SOURCES) $(DIST)/helper-path
	$(CARGO) build --locked --release --lib --bin idle-watchdog
	install -D -m 0644 target/release/libpam_idle_watchdog.so $@

$(COMMAND): $(MODULE)
	install -D -m 0755 target/release/idle-watchdog $@

# Static, and so in a cargo call of its own: rustc makes no cdylib of static code. At a fixed address
# nothing is relocated at start, which would cost each sleeping helper pages of its own.
$(HELPER): $(SOURCES)
	$(CARGO) rustc --locked --release --no-default-features --target-dir target/helper \
		--bin pam_idle_watchdog_helper -- -C target-feature=+crt-static -C relocation-model=static
	install -D -m 0755 target/helper/release/pam_idle_watchdog_helper $@

PAGES := $(patsubst man/%.scd,target/man/%,$(wildcard man/*.scd))
# Where a page goes, by its section.
page_path = $(DESTDIR)$(MANDIR)/man$(subst .,,$(suffix $(1)))/$(notdir $(1))

man: $(PAGES)

target/man/%: man/%.scd
	@mkdir -p $(@D)
	$(or $(SCDOC),scdoc) <$< >$@

install: all
	install -D -m 0644 $(MODULE) $(DESTDIR)$(PAMDIR)/pam_idle_watchdog.so
	install -D -m 0755 $(HELPER) $(DESTDIR)$(PAM_IDLE_WATCHDOG_HELPER)
	install -D -m 0755 $(COMMAND) $(DESTDIR)$(SBINDIR)/idle-watchdog
	install -d $(DESTDIR)$(DOCDIR)/docs/pictures $(DESTDIR)$(DOCDIR)/pam.d-examples
	install -m 0644 README.md CHANGELOG.md SECURITY.md LICENSE-MIT LICENSE-APACHE $(DESTDIR)$(DOCDIR)
	install -m 0644 docs/*.md $(DESTDIR)$(DOCDIR)/docs
	install -m 0644 docs/pictures/* $(DESTDIR)$(DOCDIR)/docs/pictures
	install -m 0644 pam.d-examples/* $(DESTDIR)$(DOCDIR)/pam.d-examples
ifneq ($(SCDOC),)
	$(foreach page,$(PAGES),install -D -m 0644 $(page) $(call page_path,$(page)) &&) :
else
	@echo "There is no scdoc: the man pages are not installed."
endif

# The control group of the watchdogs, on either hierarchy. It stays while there are watchdogs.
OWN_GROUPS := $(foreach place,. unified systemd,$(DESTDIR)/sys/fs/cgroup/$(place)/idle_watchdog)

# Take the line out of /etc/pam.d first: a line without its module fails the login.
uninstall:
	rm -f $(DESTDIR)$(PAMDIR)/pam_idle_watchdog.so $(DESTDIR)$(PAM_IDLE_WATCHDOG_HELPER) $(DESTDIR)$(SBINDIR)/idle-watchdog
	rm -f $(foreach page,$(PAGES),$(call page_path,$(page)))
	rm -rf $(DESTDIR)$(DOCDIR)
	for group in $(OWN_GROUPS); do rmdir "$$group" 2>/dev/null || :; done

# The product and the tests have build directories of their own, so their cargo calls need not wait for each other.
tests-built:
	$(CARGO) test --locked --no-run --lib --test '*'

check:
	@printf '\n=== %s\n' "1 of 5: install what the tests need (up to two minutes the first time)"
	@sh tests/prepare "make check" names openssh && \
		printf '\n=== %s\n' "2 of 5: build the product as it is shipped, and the tests (a minute and a half)" && \
		$(MAKE) -j3 all tests-built && sh tests/all; status=$$?; $(GIVE_BACK); exit $$status

check-vm:
	@printf '\n=== %s\n' "1 of 3: install what the tests need (up to two minutes the first time)"
	@sh tests/prepare "make check-vm" vm && \
		printf '\n=== %s\n' "2 of 3: build the product as it is shipped (a minute)" && \
		$(MAKE) -j2 all && tests/vm/all $(CASE); status=$$?; $(GIVE_BACK); exit $$status

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

# A page that scdoc gave up on is none.
.DELETE_ON_ERROR:

FORCE:

.PHONY: FORCE all man install uninstall tests-built check check-vm compare fuzz demo pictures bench accuracy clean
