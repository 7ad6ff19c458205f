# What the scripts share: messages, the cache, and packages fetched from Debian.
# shellcheck shell=bash
# Sourced, never run. Everything a script prints on stdout is its result; all else goes to stderr.

# The system's own tools (depmod, mkfs.*) are not on every user's PATH.
PATH=$PATH:/usr/sbin:/sbin

# Everything that is downloaded or built lives here; remove a part of it to have it made anew.
cache=${CASEMATE_CACHE:-${XDG_CACHE_HOME:-${HOME:?is not set}/.cache}/casemate}
[[ $cache == /* ]] || cache=$PWD/$cache

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# 125 is casemate's status for "could not do its part", as distinct from what a command ended with.
die() {
	say "$*"
	exit 125
}

# Runs a command as root: directly, or through sudo where that asks for no password.
as_root() {
	if ((EUID == 0)); then
		"$@"
	elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
		sudo -n "$@"
	else
		return 1
	fi
}

# apt's own chatter is worth reading only when it fails.
apt_quietly() {
	local log
	if log=$(DEBIAN_FRONTEND=noninteractive "$@" 2>&1); then return 0; fi
	printf '%s\n' "$log" | grep -E '^(E|W|Err)' | head -n 5 >&2 || true
	return 1
}

# need PROGRAM:PACKAGE… installs the packages of the programs that are missing; a path stands for a file.
need() {
	local pair missing=()
	for pair; do
		[[ -e ${pair%%:*} && $pair == /* ]] || command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
	done
	((${#missing[@]})) || return 0
	local install=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300
		install -y --no-install-recommends "${missing[@]}")
	command -v apt-get >/dev/null || die "missing: ${missing[*]}; this machine has no apt-get, install them by hand"
	as_root true || die "missing: run as root: apt-get install -y --no-install-recommends ${missing[*]}"
	say "installing ${missing[*]}"
	# The lists of a fresh machine may be empty or too old: update only when the first try fails.
	apt_quietly as_root "${install[@]}" && return 0
	apt_quietly as_root apt-get -qq update || true
	apt_quietly as_root "${install[@]}" || die "cannot install ${missing[*]} with apt-get"
}

# fetch_package PACKAGE DIR downloads a Debian package and unpacks it into DIR; nothing is installed.
fetch_package() {
	local package=$1 dir=$2
	command -v apt-get >/dev/null || die "cannot fetch $package: this machine has no apt-get"
	mkdir -p "$dir"
	# The sandbox user of apt may not write here; its signature checks are done all the same.
	local get=(apt-get -qq -o APT::Sandbox::User=root download "$package")
	if ! (cd "$dir" && apt_quietly "${get[@]}"); then
		apt_quietly as_root apt-get -qq update || true
		(cd "$dir" && apt_quietly "${get[@]}") || die "cannot download $package: see apt-get update"
	fi
	dpkg-deb -x "$dir"/"$package"_*.deb "$dir"
	rm -f "$dir"/"$package"_*.deb
}

# real_package METAPACKAGE PREFIX prints the package that the metapackage depends on.
real_package() {
	local found
	found=$(apt-cache show --no-all-versions "$1" 2>/dev/null | sed -n "s/^Depends: .*\($2[^ ,]*\).*/\1/p" | head -n 1)
	if [[ -z $found ]]; then
		apt_quietly as_root apt-get -qq update || true
		found=$(apt-cache show --no-all-versions "$1" 2>/dev/null | sed -n "s/^Depends: .*\($2[^ ,]*\).*/\1/p" | head -n 1)
	fi
	[[ -n $found ]] || die "Debian's package $1 is not known here: run apt-get update as root"
	printf '%s\n' "$found"
}

# start_making PATH takes the lock for a part of the cache and sets $making to an empty directory beside it.
# Build there and move the result into place, so that a part of the cache is whole or absent.
start_making() {
	local part=${1#"$cache"/}
	mkdir -p "$cache/locks" "${1%/*}"
	exec {making_lock}>"$cache/locks/${part//\//-}"
	flock "$making_lock"
	making=${1%/*}/.${1##*/}.making
	rm -rf "$making"
	mkdir "$making"
	trap 'rm -rf "$making"' EXIT
}

# Whether /dev/kvm can run Linux guests: kvm_pvm offers the device too, but runs only bare test guests.
kvm_runs_linux() {
	grep -qwE 'vmx|svm' /proc/cpuinfo && [[ -r /dev/kvm && -w /dev/kvm ]] &&
		[[ -d /sys/module/kvm_intel || -d /sys/module/kvm_amd ]]
}

# write_part NAME TEXT: puts TEXT between the two markers of a part of README.md that the running script writes.
write_part() {
	awk -v begin="<!-- $1: written by scripts/${0##*/} -->" -v end="<!-- end of $1 -->" -v text="$2" '
		$0 == begin { print; print text; inside = 1; found++ }
		$0 == end { inside = 0; found++ }
		!inside && $0 != begin
		END { exit found != 2 }' README.md >README.md.new || die "README.md lacks the markers of $1"
	mv README.md.new README.md
}
