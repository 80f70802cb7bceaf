# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=bash
# What those who measure in guests make of their values. Sourced by them.

# The median of a column of numbers.
median() {
	sort -g | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

# The geometric mean of the ratios of two columns.
mean_ratio() {
	awk '$1 > 0 && $2 > 0 { sum += log($1 / $2); n++ } END { print n ? exp(sum / n) : 0 }'
}
