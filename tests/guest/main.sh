#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# The guest's script for all tests: runs /cases/$CASE/guest.sh with a few helpers.

fail() {
	echo "failed: $*"
	exit 1
}

# say: a line for the host, `expect`ed there.
say() {
	echo "@@$*"
}

# wait_for SECONDS COMMAND...: until it succeeds.
wait_for() {
	left=$(($1 * 5))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $left -gt 0 ] || fail "waited in vain for: $*"
		left=$((left - 1))
		usleep 200000
	done
}

# Let the console show what is being said, not the kernel's chat; dmesg has all of it.
. "/cases/$CASE/guest.sh"
