# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=bash
# $version: what the host allows; the guest must choose it.
truncate -s 16M "$work/a.raw"
append="script.VERSION=$version"
vm_start vm version --drive "$work/a.raw" --vmbus-max "$version"
expect vm '@@done'
vm_end vm 0
