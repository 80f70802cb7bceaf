#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# Run where a full KVM is: boots FOLDER/root.img with the kernel and initramfs it came with.
# usage: host.sh FOLDER LIS WORDS    words for the kernel's command line
set -u
dir=$1 lis=$2
LIS_RUNTIME_DIR=$(mktemp -d)
export LIS_RUNTIME_DIR
"$lis" run dkms --kernel "$dir/vmlinux" --initrd "$dir/initrd" --memory 768M --cpus 1 \
	--drive "$dir/root.img,format=raw" --append "console=ttyS0 panic=-1 root=LABEL=root rw init=/sbin/dkms-test $3" </dev/null >"$dir/console" 2>&1 &&
	grep -aq '^@@done' "$dir/console"
