# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=bash
#
# Debian's kernels, fetched once and kept: sourced by kvmbox, mkguest and kmod.
#
# Everything lies in one cache folder that may be removed at any time:
#
#   apt/SERIES/           an apt configuration of our own: the machine's lists and settings stay as they are;
#                         "log" has apt's words of the last refresh
#   kernels/VERSION/      vmlinuz, vmlinux, lib/modules/VERSION/ (with depmod's indexes)
#   kernels/SERIES        symbolic link to the newest of a series
#   kits/VERSION/         its headers and compiler (kmod)
#   roots/VERSION-N/      a Debian with it (tests/dkms)
#
# The archive's address is the machine's own (apt tells it); apt checks every package against
# Debian's archive keyring. Lists are refreshed at most once a day, and what is cached is used
# when that fails.

cache=${OPENLIS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/openlis}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
# shellcheck disable=SC2034 # for the scripts that source this one
kernel_series=(6.1 6.12 7)

# The caller's own trouble ends in 125, as no command's status usually does.
die()  { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 125; }
note() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# The programs of administrators are ours too.
PATH=$PATH:/usr/sbin:/sbin

# need PROGRAM:PACKAGE... - install the packages whose program is not there.
need() {
	local item missing=()
	for item; do
		command -v "${item%%:*}" >/dev/null || missing+=("${item#*:}")
	done
	((${#missing[@]})) || return 0
	[ "$(id -u)" = 0 ] || die "missing: ${missing[*]} (as root: apt-get install ${missing[*]})"
	note "installing ${missing[*]}"
	install_packages "${missing[@]}" || { apt-get update -qq >&2 && install_packages "${missing[@]}"; } ||
		die "cannot install ${missing[*]}"
}

install_packages() {
	DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300 \
		install --no-install-recommends "$@" >&2
}

# archive LABEL - print the address of Debian's archive as the machine's own apt has it.
archive() {
	# shellcheck disable=SC2016 # apt's variable
	apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' "Label: $1" |
		head -n 1
}

# apt_acquire - print how to reach the archive (proxies and the like), which is the machine's business.
apt_acquire() {
	(unset APT_CONFIG; apt-config dump) | grep '^Acquire::' | grep -v '^Acquire::IndexTargets'
}

# apt_prepare SERIES - write the series' apt configuration; sets APT_CONFIG for the commands after it.
apt_prepare() {
	local dir=$cache/apt/$1 main security
	mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
	[ -e $keyring ] || need "$keyring:debian-archive-keyring"
	main=$(archive Debian)
	if [ -z "$main" ] && [ "$(id -u)" = 0 ]; then
		apt-get update -qq >&2
		main=$(archive Debian)
	fi
	[ -n "$main" ] || { note "this machine's apt knows no Debian archive (apt-get update?)"; return 1; }
	security=$(archive Debian-Security)

	case $1 in
	6.1)  printf "deb [signed-by=$keyring] %s %s main\n" "$main" bookworm \
		${security:+"$security" bookworm-security} ;;
	6.12) printf "deb [signed-by=$keyring] %s %s main\n" "$main" bookworm-backports ;;
	7)    printf "deb [signed-by=$keyring] %s %s main\n" "$main" sid "$main" trixie-backports ;;
	esac >"$dir/sources.list"

	: >"$dir/status"
	{
		apt_acquire
		cat <<-END
		Acquire::Languages "none";
		Acquire::Retries "3";
		APT::Architecture "amd64";
		APT::Architectures "amd64";
		APT::Sandbox::User "root";
		Dir::Cache "$dir/cache";
		Dir::Cache::pkgcache "";
		Dir::Cache::srcpkgcache "";
		Dir::Etc::main "/dev/null";
		Dir::Etc::parts "/dev/null";
		Dir::Etc::preferences "/dev/null";
		Dir::Etc::preferencesparts "/dev/null";
		Dir::Etc::sourcelist "$dir/sources.list";
		Dir::Etc::sourceparts "/dev/null";
		Dir::State "$dir";
		Dir::State::lists "$dir/lists";
		Dir::State::status "$dir/status";
		END
	} >"$dir/apt.conf"
	export APT_CONFIG=$dir/apt.conf
}

# kernel_packaged SERIES - print the newest VERSION that the series' lists offer.
kernel_packaged() {
	APT_CONFIG=$cache/apt/$1/apt.conf apt-cache pkgnames 2>/dev/null |
		sed -nE "s/^linux-(image|binary)-(${1//./\\.}\.[0-9.]+([-+][0-9a-z.]+)?-amd64)$/\2/p" |
		sort -uV | tail -n 1
}

# vmlinux BZIMAGE - print the ELF image in a bzImage. A loader that takes it (by PVH's entry, say) saves
# the kernel seconds of unpacking itself under emulation. The fields are those of Linux' boot protocol;
# the last four bytes of the packed data are its unpacked size.
vmlinux() {
	local offset bytes magic unpack
	read -r offset bytes magic < <(perl -e '
		open my $file, "<:raw", $ARGV[0] or die; local $/; my $image = <$file>;
		my ($offset, $bytes) = unpack "VV", substr $image, 0x248, 8;
		$offset += 512 * (1 + unpack "C", substr $image, 0x1f1, 1);
		print "$offset $bytes ", unpack("H4", substr $image, $offset, 2), "\n"' "$1")
	case $magic in
	fd37) unpack=(xz -dc) ;;
	0221) need lz4:lz4; unpack=(lz4 -dcq) ;;
	28b5) need zstd:zstd; unpack=(zstd -dcq) ;;
	*)    note "${1##*/} is packed in a way unknown here"; return 1 ;;
	esac
	dd if="$1" bs=64K iflag=skip_bytes,count_bytes skip="$offset" count=$((bytes - 4)) status=none |
		"${unpack[@]}"
}

# kernel_unpack VERSION - download VERSION and unpack it to kernels/VERSION; apt's words go to $log.
# In 7.x the image package is empty and depends on three others: kernel, modules, and their indexes.
kernel_unpack() (
	version=$1 packages=("linux-image-$1")
	[ ! -e "$cache/kernels/$version" ] || exit 0
	if apt-cache show "linux-binary-$version" >/dev/null 2>&1; then
		packages=("linux-binary-$version" "linux-modules-$version" "linux-base-$version")
	fi
	note "fetching ${packages[*]}"
	tmp=$(mktemp -d "$cache/kernels/.unpack.XXXXXX") && cd "$tmp" || exit
	trap 'rm -rf "$tmp"' EXIT
	mkdir -p tree out/lib/modules
	apt-get download -qq "${packages[@]}" >>"$log" 2>&1 || exit
	for deb in ./*.deb; do dpkg-deb -x "$deb" tree || exit; done

	# Before 7.x: /boot and /lib/modules; since then all in /usr/lib/modules.
	[ ! -d tree/usr/lib/modules ] || mv tree/usr/lib tree/lib
	mv tree/lib/modules/"$version" out/lib/modules/
	mv tree/boot/vmlinuz-* out/vmlinuz 2>/dev/null || mv out/lib/modules/"$version"/vmlinuz out/
	depmod -b out "$version" && vmlinux out/vmlinuz >out/vmlinux && chmod 755 out &&
		mv out "$cache/kernels/$version"
)

# kernel_refresh SERIES - look for a newer kernel, if the last look was more than a day ago.
kernel_refresh() {
	local current=$cache/kernels/$1 looked=$cache/apt/$1/looked log=$cache/apt/$1/log version
	[ -n "$(find "$looked" -mmin -1440 2>/dev/null)" ] && [ -e "$current/vmlinuz" ] && return 0
	if apt_prepare "$1" && apt-get update -qq >"$log" 2>&1 && version=$(kernel_packaged "$1") &&
		[ -n "$version" ] && kernel_unpack "$version"; then
		ln -sfn "$version" "$current"
	elif [ -e "$current/vmlinuz" ]; then
		note "no newer kernel $1 to be had; using $(readlink "$current")"
	else
		return 1
	fi
	touch "$looked"
}

# kernel_folder SERIES - print the folder of the series' newest kernel, fetched if need be.
kernel_folder() {
	mkdir -p "$cache/kernels" "$cache/apt/$1"
	need modprobe:kmod xz:xz-utils
	# A subshell, so that lock and APT_CONFIG end with it.
	( flock 9; kernel_refresh "$1" ) 9>"$cache/apt/$1/lock" ||
		die "cannot get Debian's kernel $1 (apt/$1/log in the cache folder says more)"
	readlink -f "$cache/kernels/$1"
}

# kernel_current VERSION - is it the newest of a series? What is kept for others can go.
kernel_current() {
	local series
	for series in "${kernel_series[@]}"; do
		[ "$(readlink "$cache/kernels/$series")" != "$1" ] || return 0
	done
	return 1
}

# kernel_sources SERIES VERSION - print a sources.list with the kernel's suite and that of the Debian it
# belongs to. The series' kernel was fetched before.
kernel_sources() {
	local suite main security
	suite=$(APT_CONFIG=$cache/apt/$1/apt.conf apt-cache madison "linux-headers-$2" |
		sed -nE '1s|.* ([^ /]+)/main .*|\1|p')
	[ -n "$suite" ] || { note "the archive has no headers for $2 any more"; return 1; }
	main=$(archive Debian)
	security=$(archive Debian-Security)
	printf "deb [signed-by=$keyring] %s %s main\n" "$main" "${suite%%-*}"
	case $suite in
	*-security) printf "deb [signed-by=$keyring] %s %s main\n" "$security" "$suite" ;;
	*-*)        printf "deb [signed-by=$keyring] %s %s main\n" "$main" "$suite" ;;
	esac
}

# unpack_packages FOLDER PACKAGES OPTION... <SOURCES - make FOLDER of packages and all that they need, unpacked
# but not installed; SOURCES are lines of a sources.list, options mmdebstrap's.
unpack_packages() {
	local folder=$1 packages=$2
	shift 2
	need mmdebstrap:mmdebstrap
	apt_acquire >"$folder.conf"
	mmdebstrap --quiet --variant=extract --architectures=amd64 --aptopt="$folder.conf" "$@" \
		--include="$packages" '' "$folder" - >"$folder.log" 2>&1 || { cat "$folder.log" >&2; return 1; }
}

# module_files FOLDER MODULE... - print the files of the modules and of what they need, in the order
# of loading, each once. Modules that are built in print nothing.
module_files() {
	local folder=$1 version module lines=''
	shift
	version=$(basename "$folder"/lib/modules/*)
	for module; do
		lines+=$(modprobe -d "$folder" -S "$version" -C /dev/null --show-depends "$module")$'\n' || return
	done
	awk '$1 == "insmod" && !seen[$2]++ { print $2 }' <<<"$lines"
}

# unpacked FILE - print a module's bytes, whatever it is packed with: a plain file loads fastest.
unpacked() {
	case $1 in
	*.xz)  xz -dc "$1" ;;
	*.zst) need zstd:zstd; zstd -dcq "$1" ;;
	*)     cat "$1" ;;
	esac
}

# static_busybox - print the path of a busybox without shared libraries.
static_busybox() {
	local busybox
	need busybox:busybox-static
	busybox=$(command -v busybox)
	if ldd "$busybox" >/dev/null 2>&1; then
		need no-such-program:busybox-static
		busybox=$(command -v busybox)
	fi
	printf '%s\n' "$busybox"
}
