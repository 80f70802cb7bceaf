# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=bash
# What the host side of a guest test may use. Sourced by tests/guest/in-box, which sets:
#   lis         the command under test       guest   folder with vmlinuz and initrd
#   cpus        number of CPUs of the guest  work    empty folder for this test
#   drivers     "ours" or "stock", which the guest has
# A VM's console is in $work/NAME.console; what `say` writes, its script reads from standard input.

# pause SECONDS: without a process, which is dear under emulation. Nothing ever comes out of that pipe.
exec {never}<> <(:)
pause() {
	read -r -t "$1" <&"$never" || true
}

# Any failure ends the test: its reason is the last line of output.
fail() {
	echo "failed: $*"
	exit 1
}

# Words for $append of a guest that is to panic: of what its kernel says then the host is told the last 4 KiB, and
# these are to tell why.
short_panic='panic_print=0 randomize_kstack_offset=off'

# vm_start NAME CASE [LIS-RUN-OPTION...]: run the guest script of CASE; extra words for the kernel
# command line in $append. $image: vmlinuz, or (quicker under emulation) the same kernel unpacked.
vm_start() {
	local name=$1 script=$2
	shift 2
	mkfifo "$work/$name.in"
	# Opened for reading and writing, so that neither side waits for the other.
	exec {vm_stdin}<>"$work/$name.in"
	: >"$work/$name.console"
	"$lis" run "$name" --kernel "$guest/${image:-vmlinux}" --initrd "$guest/initrd" --cpus "$cpus" \
		--append "console=ttyS0 panic=-1 unknown_nmi_panic=1 panic_print=0xc0 quiet $(<"$guest/append") script.CASE=$script script.DRIVERS=$drivers ${append:-}" "$@" \
		<"$work/$name.in" >"$work/$name.console" 2>"$work/$name.log" &
	eval "vm_pid_$name=$! vm_stdin_$name=$vm_stdin"
	exec {vm_console}<"$work/$name.console"
	eval "vm_console_$name=$vm_console"
}

# say NAME TEXT: a line for the guest's script.
say() {
	local fd=vm_stdin_$1
	printf '%s\n' "$2" >&"${!fd}"
}

# expect NAME PATTERN [SECONDS]: wait until a line of the console has PATTERN (grep -E), from the line on behind
# the last one that was expected; it is in $expected then.
expect() {
	local name=$1 pattern=$2 seconds=${3:-120} pid=vm_pid_$1 fd=vm_console_$1 part running=1
	local end=$((SECONDS + seconds))
	expected=''
	while :; do
		if IFS= read -r part <&"${!fd}"; then
			expected+=$part
			expected=${expected%$'\r'} # it may have come before the rest of its line's end
			[[ ! $expected =~ $pattern ]] || return 0
			expected=''
			continue
		fi
		expected+=$part
		[[ -n $running ]] || fail "$name ended before its console showed: $pattern $(failure_of "$name")"
		((SECONDS < end)) || { last_words "$name"; fail "$name: $seconds s without: $pattern"; }
		kill -0 "${!pid}" 2>/dev/null || running=
		pause 0.1
	done
}

# last_words NAME: what a guest that does not go on is at. At the NMI its kernel panics, and says where it was
# and what waits (from 6.12 on; panic_print).
last_words() {
	local pid=vm_pid_$1 end=$((SECONDS + 30))
	"$lis" status "$1" || true
	"$lis" nmi "$1" || true
	while kill -0 "${!pid}" 2>/dev/null && ((SECONDS < end)); do
		pause 0.5
	done
	echo "the console of $1 ends:"
	tail -n 150 "$work/$1.console" | tr -d '\r' | cut -c1-200
}

# vm_end NAME [STATUS]: wait for `lis run` to end with STATUS (0), with the guest's script at 0 if it
# got that far.
vm_end() {
	local pid=vm_pid_$1 want=${2:-0} fd=vm_stdin_$1 status=0 said
	wait_for_end "$1" "${vm_end_seconds:-150}"
	wait "${!pid}" || status=$?
	eval "exec ${!fd}>&-"
	fd=vm_console_$1
	eval "exec ${!fd}<&-"
	[[ $status = "$want" ]] || fail "$1: lis run ended with $status instead of $want: $(tail -n1 "$work/$1.log")"
	said=$(tr -d '\r' <"$work/$1.console" | sed -n 's/^.*@@exit \([0-9]*\)@@.*$/\1/p' | tail -n1)
	[[ -z $said || $said = 0 ]] || fail "$1: $(failure_of "$1") (the guest's script ended with $said)"
}

# What the guest's script has complained of.
failure_of() {
	tr -d '\r' <"$work/$1.console" | grep -a '^failed:' | tail -n1
}

# wait_for_end NAME SECONDS: kill it when it does not end in that time.
wait_for_end() {
	local pid=vm_pid_$1 end=$((SECONDS + $2))
	while kill -0 "${!pid}" 2>/dev/null; do
		((SECONDS < end)) || { last_words "$1"; kill -9 "${!pid}"; echo "killed after $2 s"; }
		pause 0.2
	done
}

# serve NAME SECONDS: do what the guest's script asks for by `on_host`, until it says "end".
serve() {
	local end=$((SECONDS + $2)) line
	while :; do
		expect "$1" '@@(host .*|end)' $((end - SECONDS))
		case $expected in
		*@@end) return ;;
		esac
		line=${expected#*@@host }
		# shellcheck disable=SC2086 # a command and its words
		if $line >"$work/answer" 2>&1; then
			say "$1" ok
		else
			say "$1" "$(tail -n1 "$work/answer") (failed)"
		fi
	done
}

# json NAME EXPRESSION: a value of `lis status --json`, by an expression of the jq kind (jq's own).
json() {
	"$lis" status "$1" --json | jq -er "$2"
}

# wait_for SECONDS COMMAND...: until it succeeds.
wait_for() {
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		((SECONDS < end)) || fail "waited in vain for: $*"
		pause 0.3
	done
}

# A VHDX of SIZE with an ext4 file system labelled after it.
new_disk() {
	local raw=$work/new.raw
	truncate -s "$2" "$raw"
	mkfs.ext4 -q -F -E lazy_itable_init=1,lazy_journal_init=1 "$raw"
	qemu-img convert -f raw -O vhdx "$raw" "$1"
	rm "$raw"
}

# boot_disk FILE: a raw disk with ext4 that holds the guest's own vmlinuz and initrd, for kexec.
boot_disk() {
	local bytes
	bytes=$(cat "$guest/vmlinuz" "$guest/initrd" | wc -c)
	mkdir "$work/boot"
	cp "$guest/vmlinuz" "$guest/initrd" "$work/boot"
	truncate -s $((bytes + (16 << 20))) "$1"
	mkfs.ext4 -q -F -d "$work/boot" "$1"
}
