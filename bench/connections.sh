#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# Figures of what connections.host.sh printed in any number of boots: means (geometric, as ratios vary with the
# machine's pace) and their ratios.
# usage: connections.sh <FIGURES
set -eu
# shellcheck source-path=SCRIPTDIR source=figures.sh
. "$(dirname "$(readlink -f "$0")")/figures.sh"
figures=$(</dev/stdin)

values() { # WHO
	awk -v who="$1" '$1 == who { print $2 }' <<<"$figures"
}
mean() {
	awk '{ print $1, 1 }' | mean_ratio
}
compare() { # FIGURE WHO PEER OTHER
	printf '%s_tcp_connections %.0f Mbit/s %s %.0f Mbit/s %.2f\n' "$1" "$(values "$2" | mean)" "$3" \
		"$(values "$4" | mean)" "$(paste <(values "$2") <(values "$4") | mean_ratio)"
}
compare hv_netvsc ours distribution_hv_netvsc theirs
compare hv_netvsc ours distribution_hv_netvsc_again again
compare distribution_hv_netvsc_again again distribution_hv_netvsc theirs
