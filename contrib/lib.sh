# SPDX-License-Identifier: MIT
# What contrib/check and contrib/quickstart share: packages. POSIX sh; the caller is in the source root.
# shellcheck shell=sh

say() {
	printf '%s\n' "$*"
}

# The words of contrib/packages for the kinds in $1, one package (or "a|b") a line.
pkg_list() {
	while read -r kind names; do
		case " $1 " in *" $kind "*) say "$names" ;; esac
	done <contrib/packages
}

pkg_installed() {
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# True when one of the alternatives in $1 is installed.
pkg_have_one() {
	for alternative in $(say "$1" | tr '|' ' '); do
		if [ "$alternative" != - ] && pkg_installed "$alternative"; then
			return 0
		fi
	done
	return 1
}

# Prints the package to install for each list word that is not there yet. "-" stands for "then none".
pkg_missing() {
	for names in $(pkg_list "$1"); do
		pkg_have_one "$names" && continue
		chosen=
		for alternative in $(say "$names" | tr '|' ' '); do
			if [ "$alternative" = - ]; then
				chosen=-
			elif apt-cache policy "$alternative" 2>/dev/null | grep -q 'Candidate: [^(]'; then
				chosen=$alternative
			fi
			[ -n "$chosen" ] && break
		done
		# A name nobody knows stays in the list: apt-get then says which one is missing.
		[ -n "$chosen" ] || chosen=${names%%|*}
		[ "$chosen" = - ] || say "$chosen"
	done
}

# Installs what is missing of the kinds in $1. Fails with the list where there is no apt.
# What it installed is left in $pkg_added.
pkg_install() {
	pkg_added=
	if ! command -v apt-get >/dev/null 2>&1 || ! command -v dpkg-query >/dev/null 2>&1; then
		say "This script installs packages on Debian and Ubuntu only. Here, install what these stand for" >&2
		say "(a|b: one of them), then run it again with --no-packages:" >&2
		pkg_list "$1" | tr '\n' ' ' | fold -s -w 96 | sed 's/^/  /' >&2
		say "" >&2
		return 1
	fi
	[ -n "$(pkg_missing "$1")" ] || return 0
	say "Installing packages ..."
	apt-get update -qq || return 1
	pkg_added=$(pkg_missing "$1")
	# shellcheck disable=SC2086 # a list of names
	pkg_log=$(DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $pkg_added 2>&1) || {
		say "$pkg_log" | tail -n 20 >&2
		return 1
	}
}
