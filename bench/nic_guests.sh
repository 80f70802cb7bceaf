# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=bash
# Guests with a TAP each, for what is measured with iperf3 and qperf from the host: they are all there at the same
# time, but all are stopped except the one that is being measured. Sourced by those who measure.
# shellcheck disable=SC2154 # lis, hystart, boot, guest, guest_ours: the reader's
cpus=${CPUS:-1}
work=$(mktemp -d)
export LIS_RUNTIME_DIR=$work
hystart_file=/sys/module/tcp_cubic/parameters/hystart
hystart_before=$(<$hystart_file)
declare -A pids addresses
taps=()
# The machine may be one that stays.
at_end() {
	local tap
	kill -9 "${pids[@]}" 2>/dev/null
	for tap in "${taps[@]}"; do
		ip link del "$tap"
	done
	echo "$hystart_before" >$hystart_file
	rm -rf "$work"
}
trap at_end EXIT

echo "$hystart" >$hystart_file
# Whoever was stopped finds that much time has passed.
args="console=ttyS0 panic=-1 quiet nowatchdog rcupdate.rcu_cpu_stall_suppress=1 tcp_cubic.hystart=$hystart"

start_on_lis() { # WHO GUEST TAP ADDRESS
	exec "$lis" run "$1" --kernel "$2/vmlinux" --initrd "$2/initrd" --memory 256M --cpus "$cpus" --nic "tap:$3" \
		--append "$args script.ADDRESS=$4"
}

start_ours() { start_on_lis ours "$guest_ours" "$@"; }
start_theirs() { start_on_lis theirs "$guest" "$@"; }
start_again() { start_on_lis again "$guest" "$@"; }

# By start_WHO TAP ADDRESS.
start() { # WHO NUMBER
	local i tap=lis$2
	addresses[$1]=10.77.$2.2
	ip tuntap add dev "$tap" mode tap vnet_hdr || {
		echo "bench: no TAP $tap can be made" >&2
		exit 1
	}
	taps+=("$tap")
	ip addr add "10.77.$2.1/24" dev "$tap"
	ip link set "$tap" up
	"start_$1" "$tap" "${addresses[$1]}" >"$work/$1.console" 2>"$work/$1.log" </dev/null &
	pids[$1]=$!
	disown # or its end is news
	for ((i = 0; i < 1200; i++)); do
		! grep -q @@up "$work/$1.console" || break
		sleep 0.1
	done
	busybox ping -c 1 -w 20 "${addresses[$1]}" >/dev/null || {
		echo "bench: the guest of $1 does not answer: $(tail -n1 "$work/$1.log")" >&2
		tail -n 20 "$work/$1.console" >&2
		exit 1
	}
	kill -STOP "${pids[$1]}"
}

# Starts them in an order that is another in each boot; then they are in everyone, count of them.
start_all() { # WHO...
	local i
	count=$#
	everyone=("$@" "$@")
	everyone=("${everyone[@]:boot % count:count}")
	for ((i = 0; i < count; i++)); do
		start "${everyone[i]}" $((i + 1))
	done
}

tell() { # WHO NAME UNIT VALUE
	echo "$*"
	[[ -z ${EACH_ROUND:-} ]] || echo "$*" >&2
}

# Wakes one, which then is at $address. sleep_again: the other way.
wake() { # WHO
	address=${addresses[$1]}
	kill -CONT "${pids[$1]}"
	busybox ping -c 2 "$address" >/dev/null
}
sleep_again() { # WHO
	kill -STOP "${pids[$1]}"
}
