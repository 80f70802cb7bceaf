# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=sh
# What is written to the disks is read back, every block of it: many requests in flight, all sizes, from all
# CPUs, with trims and flushes between.
wait_for 20 test -b /dev/sdb
options="--direct=1 --ioengine=libaio --verify=crc32c --verify_fatal=1 --do_verify=1 --end_fsync=1 --group_reporting"
verify() {
	# shellcheck disable=SC2086
	fio $options "$@" >/tmp/fio 2>&1 || fail "fio $*: $(grep -E 'verify|err|fio:' /tmp/fio | head -n 3)"
}
verify --name=small --filename=/dev/sda --rw=randwrite --bs=4k --iodepth=32 --size=16m
verify --name=mixed --filename=/dev/sda --rw=randwrite --bsrange=512-1m --bs_unaligned=0 --blockalign=512 --iodepth=16 \
	--size=24m
verify --name=large --filename=/dev/sdb --rw=write --bs=1m --iodepth=8 --size=48m
verify --name=jobs --filename=/dev/sdb --rw=randwrite --bs=8k --iodepth=16 --size=8m --offset_increment=8m --fsync=64 \
	--numjobs="$(grep -c ^processor /proc/cpuinfo)"
blkdiscard -o 0 -l 8388608 /dev/sda || fail 'blkdiscard'
verify --name=again --filename=/dev/sda --rw=randwrite --bs=4k --iodepth=32 --size=8m
dmesg | grep -E 'cut here|BUG:|Call Trace|I/O error' && fail 'the kernel complains'
say verified
