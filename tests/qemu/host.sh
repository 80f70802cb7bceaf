#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# Run a guest of ours on QEMU, where a full KVM is. usage: host.sh QEMU-FOLDER GUEST-FOLDER
set -eu
qemu=$1 guest=$2
mkdir -p "$qemu"/{dev,proc,guest}
mount --bind /dev "$qemu/dev"
mount -t proc proc "$qemu/proc"
mount --bind "$guest" "$qemu/guest"
hyperv=hv-relaxed,hv-vapic,hv-time,hv-vpindex,hv-runtime,hv-reset,hv-synic,hv-stimer,hv-stimer-direct
hyperv+=,hv-frequencies,hv-tlbflush,hv-ipi
exec timeout 300 chroot "$qemu" /usr/bin/qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
	-M q35 -accel kvm -m 384 -smp 2 -cpu "host,kvm=off,$hyperv" -device vmbus-bridge -device hv-balloon \
	-serial stdio -kernel /guest/vmlinuz -initrd /guest/initrd \
	-append "console=ttyS0 panic=-1 quiet $(<"$guest/append")"
