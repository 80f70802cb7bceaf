#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# The machine beside QEMU's microvm, same kernel and initrd, turn about, where a full KVM is: time from
# start to the guest's init, memory beyond the guest's, CPU time while the guest is idle.
# usage: machine.host.sh GUEST-FOLDER LIS
set -u
guest=$1 lis=$2
rounds=${ROUNDS:-3} idle_seconds=${IDLE_SECONDS:-30}
work=$(mktemp -d)
export LIS_RUNTIME_DIR=$work
trap 'kill -9 $(jobs -p) 2>/dev/null; rm -rf "$work"' EXIT
kernel_args='console=ttyS0 panic=-1 quiet'

start_lis() {
	exec "$lis" run bench --kernel "$guest/vmlinuz" --initrd "$guest/initrd" --memory 256M --cpus 1 \
		--append "$kernel_args"
}
start_qemu() {
	exec qemu-system-x86_64 -M microvm -accel kvm -cpu host -m 256M -smp 1 -nodefaults -no-user-config \
		-display none -no-reboot -serial stdio -kernel "$guest/vmlinuz" -initrd "$guest/initrd" \
		-append "$kernel_args reboot=t"
}

now_ms() {
	local now=${EPOCHREALTIME/[.,]/}
	echo $((now / 1000))
}

# Memory in KiB that is not the guest's: everything resident but the mapping of its RAM, the largest.
own_kib() {
	awk '/^Size:/ { size = $2 }
	     /^Rss:/ { total += $2; if (size >= 192 * 1024 && $2 > ram) ram = $2 }
	     END { print total - ram }' "/proc/$1/smaps"
}

cpu_ticks() {
	awk '{ sub(/^.*\) /, ""); print $12 + $13 }' "/proc/$1/stat"
}

# run_once WHO IDLE: sets start_ms, and own and idle (in ms of CPU time) if IDLE is not 0
run_once() {
	local began pid line before
	rm -f "$work/in"
	mkfifo "$work/in"
	exec 4<>"$work/in"
	began=$(now_ms)
	exec 5< <("start_$1" <&4 2>"$work/$1.err")
	pid=$!
	start_ms=
	while read -r -t 120 line <&5; do
		[[ $line != *@@up* ]] || { start_ms=$(($(now_ms) - began)); break; }
	done
	[[ -n $start_ms ]] || { echo "$1 did not come up: $(tail -n1 "$work/$1.err")" >&2; exit 1; }
	if (($2)); then
		sleep 5 # what is left of its start
		before=$(cpu_ticks "$pid")
		sleep "$2"
		idle=$((($(cpu_ticks "$pid") - before) * 1000 / $(getconf CLK_TCK)))
		own=$(own_kib "$pid")
	fi
	kill -9 "$pid"
	wait "$pid" 2>/dev/null
	exec 4>&- 5<&-
}

median() {
	tr ' ' '\n' <<<"$*" | sort -n | sed -n "$((($# + 1) / 2))p"
}
ratio() {
	awk -v a="$1" -v b="$2" 'BEGIN { if (b) printf "%.2f", a / b; else print "-" }'
}

lis_ms=() qemu_ms=()
for ((i = 0; i <= rounds; i++)); do
	for who in lis qemu; do
		run_once "$who" $((i == rounds ? idle_seconds : 0))
		declare -n times=${who}_ms
		# The first round warms the caches.
		((i == 0)) || times+=("$start_ms")
		((i < rounds)) || declare "${who}_idle=$idle" "${who}_own=$own"
	done
done
a=$(median "${lis_ms[@]}") b=$(median "${qemu_ms[@]}")
echo "machine_start_to_init $a ms qemu_microvm $b ms $(ratio "$a" "$b")"
# shellcheck disable=SC2154
echo "machine_memory_beyond_guest $lis_own KiB limit 8192 KiB $(ratio "$lis_own" 8192)"
echo "machine_memory_beyond_guest $lis_own KiB qemu_microvm $qemu_own KiB $(ratio "$lis_own" "$qemu_own")"
# shellcheck disable=SC2154
echo "machine_idle_cpu_${idle_seconds}s $lis_idle ms qemu_microvm $qemu_idle ms $(ratio "$lis_idle" "$qemu_idle")"
