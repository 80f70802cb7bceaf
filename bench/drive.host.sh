#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# A disk in a guest, where a full KVM is: hv_storvsc on our host beside QEMU's virtio-scsi and virtio-blk, the
# same kernel and test, each on a file of its own in memory. The guests run at the same time, but all but the
# one being measured are stopped. Turn about; values are medians of ROUNDS (5), the ratio is the mean
# (geometric) of the rounds' ratios.
# usage: drive.host.sh GUEST-FOLDER LIS
set -u
. "$(dirname "$(readlink -f "$0")")/figures.sh"
guest=$1 lis=$2
rounds=${ROUNDS:-5} seconds=${SECONDS_EACH:-2} cpus=${CPUS:-1}
work=$(mktemp -d)
export LIS_RUNTIME_DIR=$work
declare -A pids
trap 'kill -9 "${pids[@]}" 2>/dev/null; rm -rf "$work"' EXIT
everyone=(ours virtio_scsi virtio_blk)

# Whoever was stopped finds that much time has passed.
args="console=ttyS0 panic=-1 quiet nowatchdog rcupdate.rcu_cpu_stall_suppress=1 script.SECONDS_EACH=$seconds"
start_ours() {
	exec "$lis" run ours --kernel "$guest/vmlinux" --initrd "$guest/initrd" --memory 512M --cpus "$cpus" \
		--drive "$1" --append "$args script.MODULES=hv_storvsc"
}
qemu() { # QEMU-OPTION...
	exec qemu-system-x86_64 -M q35 -accel kvm -cpu host -m 512M -smp "$cpus" -nodefaults -no-user-config \
		-display none -no-reboot -serial stdio -kernel "$guest/vmlinuz" -initrd "$guest/initrd" "$@"
}
start_virtio_scsi() {
	qemu -object iothread,id=t -drive "file=$1,if=none,id=d,format=raw,aio=io_uring" \
		-device virtio-scsi-pci,iothread=t -device scsi-hd,drive=d -append "$args script.MODULES=virtio_scsi"
}
start_virtio_blk() {
	qemu -object iothread,id=t -drive "file=$1,if=none,id=d,format=raw,aio=io_uring" \
		-device virtio-blk-pci,iothread=t,drive=d -append "$args script.MODULES=virtio_blk"
}

# The next line of a guest's console that has what is looked for goes to standard output.
await() { # WHO MARK
	local line fd=out_$1
	while IFS= read -r -t 300 line <&"${!fd}"; do
		[[ $line != *@@fig* ]] || echo "$1 ${line##*@@fig }" | tr -d '\r' >>"$work/figures"
		[[ $line != *"@@$2"* ]] || return 0
	done
	echo "bench: the guest of $1 does not answer: $(tail -n1 "$work/$1.log")" >&2
	exit 1
}

for who in "${everyone[@]}"; do
	dd if=/dev/urandom of="/dev/shm/$who.raw" bs=1M count=128 status=none
	mkfifo "$work/$who.in"
	exec {in}<>"$work/$who.in"
	exec {out}< <("start_$who" "/dev/shm/$who.raw" <&"$in" 2>"$work/$who.log")
	pids[$who]=$!
	declare "in_$who=$in" "out_$who=$out"
	await "$who" up
	kill -STOP "${pids[$who]}"
done

# One after the other, as the machine may be a faster or a slower one some seconds later.
measure_each() { # NAME
	local i who in
	for ((i = 0; i < 3; i++)); do
		who=${everyone[(round + i) % 3]} in=in_$who
		kill -CONT "${pids[$who]}"
		echo "$1" >&"${!in}"
		await "$who" "done"
		kill -STOP "${pids[$who]}"
	done
}

for ((round = 0; round < rounds; round++)); do
	for depth in 1 32; do
		measure_each 4k_random_read_qd$depth
		measure_each 4k_random_write_qd$depth
	done
	measure_each 1m_read
	measure_each 1m_write
done
[[ -z ${EACH_ROUND:-} ]] || cat "$work/figures" >&2

values() { # WHO NAME FIELD
	awk -v who="$1" -v name="$2" -v field="$3" '$1 == who && $2 == name { print $field }' "$work/figures"
}
for name in $(cut -d' ' -f2 "$work/figures" | awk '!seen[$0]++'); do
	case $name in
	1m_*) field=4 unit=KiB/s ;;
	*) field=3 unit=IOPS ;;
	esac
	for peer in virtio_scsi virtio_blk; do
		printf 'drive_%s %.0f %s qemu_%s %.0f %s %.2f\n' "$name" "$(values ours "$name" $field | median)" $unit \
			$peer "$(values $peer "$name" $field | median)" $unit \
			"$(paste <(values ours "$name" $field) <(values $peer "$name" $field) | mean_ratio)"
	done
done
