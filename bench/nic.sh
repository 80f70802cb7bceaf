#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# Figures of what nic.host.sh and connections.host.sh printed in any number of boots: means (geometric, as ratios vary
# with the machine's pace) and their ratios. The distribution's driver is there twice: what one of them is to the other
# is what the measure is worth. Two guests with the same driver differ by a fifth from boot to boot.
# usage: nic.sh <FIGURES
set -eu
# shellcheck source-path=SCRIPTDIR source=figures.sh
. "$(dirname "$(readlink -f "$0")")/figures.sh"
figures=$(</dev/stdin)

values() { # WHO NAME
	awk -v who="$1" -v name="$2" '$1 == who && $2 == name { print $4 }' <<<"$figures"
}
mean() {
	awk '{ print $1, 1 }' | mean_ratio
}
compare() { # FIGURE WHO PEER OTHER UNIT NAME
	[[ $(values "$2" "$6") && $(values "$4" "$6") ]] || return 0
	printf '%s %.0f %s %s %.0f %s %.2f\n' "$1_$6" "$(values "$2" "$6" | mean)" "$5" "$3" \
		"$(values "$4" "$6" | mean)" "$5" "$(paste <(values "$2" "$6") <(values "$4" "$6") | mean_ratio)"
}
while read -r name unit; do
	compare netvsp theirs qemu_virtio_net qemu "$unit" "$name"
	compare hv_netvsc ours distribution_hv_netvsc theirs "$unit" "$name"
	compare hv_netvsc ours distribution_hv_netvsc_again again "$unit" "$name"
	compare distribution_hv_netvsc_again again distribution_hv_netvsc theirs "$unit" "$name"
done < <(awk '!seen[$2]++ { print $2, $3 }' <<<"$figures")
