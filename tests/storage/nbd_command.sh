#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# `lis disk convert` to NBD servers and from them: nbdkit, with filters that take something away, and qemu-nbd.
#
#   nbd_command.sh LIS IMGTOOL
set -eu
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

lis=$(realpath "$1")
imgtool=$(realpath "$2")
needs nbdkit qemu-nbd qemu-img
begin
uri="nbd+unix:///?socket=$folder/socket"

stop() {
	[ -z "$holder" ] || kill "$holder"
	[ -z "$holder" ] || wait "$holder" 2>/dev/null || true
	holder=
	rm -f socket
}

started() {
	holder=$!
	while [ ! -S socket ]; do
		kill -0 "$holder" 2>/dev/null || fail "the server ended: $(cat server.txt)"
		sleep 0.02
	done
}

nbdkit_with() {
	stop
	nbdkit -f -U socket "$@" > server.txt 2>&1 &
	started
}

# A file of old contents, longer than the disk.
old_file() {
	tr '\0' '\125' < /dev/zero | head -c 25M > old
	head -c 24M old > front
}

# The disk is in the file at its start, and behind it is what was.
written_over() {
	stop
	cmp -n $((24 << 20)) old disk.raw || fail "$1: not the same disk"
	[ "$(tail -c 1M old | tr -d '\125' | wc -c)" = 0 ] || fail "$1: wrote behind the end of the disk"
}

over() { # WHAT NBDKIT-WORDS...
	what=$1
	shift
	old_file
	nbdkit_with "$@"
	status 0 "$lis" disk convert disk.vhdx "$uri" --force
	written_over "$what"
}

status 0 "$lis" disk create disk.vhdx --size 24M
"$imgtool" disk.vhdx random:3:60 w:1M:64K:0x21 w:5M:3M:0x22 w:23M:1M:0x23 w:9M:4K:0x24 \
	w:14M:2M:0x25 w:15M:512K:0 || fail "no disk"
status 0 "$lis" disk convert disk.vhdx disk.raw

over "nbdkit" --filter=log file old logfile=log.txt
grep -E ' (Write|Zero|Flush) ' log.txt | tail -n 1 | grep -q Flush || fail "not flushed at the end: $(tail -n 3 log.txt)"
grep -q ' Zero ' log.txt || fail "what is zero is written"
over "a server that cannot clear" --filter=nozero file old
over "large sectors" --filter=blocksize-policy file old blocksize-minimum=4096 blocksize-maximum=1M \
	blocksize-error-policy=error
over "one connection" --filter=multi-conn file old multi-conn-mode=disable

# Nothing is touched.
old_file
cksum old > sum
nbdkit_with file old
status 1 "$lis" disk convert disk.vhdx "$uri"
says "$uri: is there already (--force writes over what is on it)"
status 2 "$lis" disk convert disk.vhdx "$uri" --force --format vhdx
status 2 "$lis" disk convert disk.vhdx "$uri" --force --fixed
status 1 "$lis" disk convert "$uri" "$uri" --force
status 0 "$lis" disk create large.vhdx --size 30M
status 1 "$lis" disk convert large.vhdx "$uri" --force
says "$uri: has 26214400 bytes, too few for the 31457280 of large.vhdx"
cksum old | cmp -s - sum || fail "a refused conversion wrote"
nbdkit_with -r file old
status 1 "$lis" disk convert disk.vhdx "$uri" --force
says "$uri: the server lets nobody write to it"
stop
status 1 "$lis" disk convert disk.vhdx "$uri" --force
says "$uri: cannot be reached: "
nbdkit_with --filter=error file old error-pwrite=ENOSPC error-pwrite-rate=100%
status 1 "$lis" disk convert disk.vhdx "$uri" --force
says "$uri: cannot be written: no space left"
nbdkit_with --filter=error file old error-pread=EIO error-pread-rate=100%
status 1 "$lis" disk convert "$uri" new.vhdx
says "$uri: cannot be read: "
[ ! -e new.vhdx ] || fail "something was made of what cannot be read"

# From a server, and a qcow2 image through one.
nbdkit_with file disk.raw
status 0 "$lis" disk convert "$uri" from.vhdx
stop
qemu-img compare -q -f vhdx -F raw from.vhdx disk.raw || fail "from a server: not the same disk"
qemu-img create -q -f qcow2 disk.qcow2 24M
qemu-nbd -t -k "$folder/socket" -f qcow2 --discard=unmap disk.qcow2 > server.txt 2>&1 &
started
status 0 "$lis" disk convert disk.vhdx "$uri" --force
stop
qemu-img check -q disk.qcow2 || fail "qemu-img check: a qcow2 image that was written"
qemu-img compare -q -f qcow2 -F raw disk.qcow2 disk.raw || fail "qcow2: not the same disk"

# TLS, with a key that both have, and with certificates.
if ! nbdkit --dump-config | grep -q '^tls=yes' || ! command -v openssl >/dev/null; then
	echo "nbdkit has no TLS, or there is no openssl: not tried"
	exit 0
fi
echo lis:0123456789abcdef0123456789abcdef > keys
over_tls() { # URI SERVER-WORDS...
	tls=$1
	shift
	old_file
	nbdkit_with --tls=require "$@" file old
	status 1 "$lis" disk info "$uri"
	says "$uri: cannot be reached: "
	status 0 "$lis" disk convert disk.vhdx "$tls" --force
	written_over "$tls"
}
over_tls "nbds+unix://lis@/?socket=$folder/socket&tls-psk-file=$folder/keys" --tls-psk="$folder/keys"
mkdir server client
openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=authority -days 2 -keyout ca-key.pem -out server/ca-cert.pem 2> out.txt
openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server/server-key.pem -out request.pem 2>> out.txt
echo subjectAltName=DNS:localhost > names
openssl x509 -req -in request.pem -CA server/ca-cert.pem -CAkey ca-key.pem -CAcreateserial -days 2 -extfile names \
	-out server/server-cert.pem 2>> out.txt || fail "no certificate: $(cat out.txt)"
cp server/ca-cert.pem client
over_tls "nbds+unix:///?socket=$folder/socket&tls-certificates=$folder/client" --tls-certificates="$folder/server"
echo "lis disk convert, and NBD servers"
