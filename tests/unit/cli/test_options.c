// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* What users write on the command line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "cli/console.h"
#include "cli/json.h"
#include "cli/options.h"

static char error[OPTIONS_ERROR_BYTES];

static void sizes_have_units_and_count_mib_without(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{ "512M", 512ull << 20 }, { "512", 512ull << 20 }, { "2G", 2ull << 30 },
		{ "2g", 2ull << 30 }, { "1T", 1ull << 40 }, { "4096K", 4ull << 20 },
		{ "3GiB", 3ull << 30 }, { "3GB", 3ull << 30 }, { "0", 0 },
		{ "16777215T", 16777215ull << 40 },
	};
	static const char *const bad[] = { "", "M", "x", "-1", "+1", " 1", "1X", "1 M", "1MM", "1Mi",
					   "1.5G", "0x10", "99999999999999999999", "16777216T",
					   "18446744073709551615" };
	uint64_t bytes;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(options_parse_size(good[i].text, &bytes, error), 0);
		assert_true(bytes == good[i].bytes);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		bytes = 77;
		if (options_parse_size(bad[i], &bytes, error) != -LIS_INVALID)
			fail_msg("taken: '%s'", bad[i]);
		assert_int_equal(bytes, 77);
		assert_non_null(strstr(error, bad[i]));
	}
}

static void numbers_are_decimal_and_bounded(void **state)
{
	static const char *const bad[] = { "", "0", "9", "-3", "+3", "3x", " 3", "0x3",
					   "4294967299", "99999999999999999999999" };
	uint32_t number = 0;

	assert_int_equal(options_parse_number("n", "1", 1, 8, &number, error), 0);
	assert_int_equal(number, 1);
	assert_int_equal(options_parse_number("n", "8", 1, 8, &number, error), 0);
	assert_int_equal(number, 8);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(options_parse_number("n", bad[i], 1, 8, &number, error),
				 -LIS_INVALID);
	assert_string_equal(error, "n '99999999999999999999999': give a number from 1 to 8");
}

static void every_vmbus_version_has_its_name(void **state)
{
	static const char *const names[] = { "0.13", "1.1", "2.4", "3.0", "4.0", "4.1",
					     "5.0", "5.1", "5.2", "5.3", "6.0" };
	uint32_t version;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char text[16];

		assert_int_equal(options_parse_version(names[i], &version, error), 0);
		snprintf(text, sizeof(text), "%u.%u", version >> 16, version & 0xffff);
		assert_string_equal(text, names[i]);
	}
	assert_int_equal(options_parse_version("4.2", &version, error), -LIS_INVALID);
	assert_string_equal(error, "VMBus version '4.2': there are 6.0, 5.3, 5.2, 5.1, 5.0, 4.1, "
				   "4.0, 3.0, 2.4, 1.1, 0.13");
	assert_int_equal(options_parse_version("5", &version, error), -LIS_INVALID);
	assert_int_equal(options_parse_version("", &version, error), -LIS_INVALID);
}

static void a_drive_is_a_path_and_options(void **state)
{
	struct vm_drive drive;

	assert_int_equal(options_parse_drive("/a b/c.raw", &drive, error), 0);
	assert_string_equal(drive.path, "/a b/c.raw");
	assert_null(drive.format);
	assert_false(drive.read_only);
	assert_false(drive.direct);
	assert_int_equal(drive.controller, 0);
	assert_true(drive.lun == VM_LUN_ANY);
	free(drive.path);

	assert_int_equal(options_parse_drive("x=y,ro,direct,format=vhdx,controller=3,lun=63", &drive,
					     error), 0);
	assert_string_equal(drive.path, "x=y");
	assert_string_equal(drive.format, "vhdx");
	assert_true(drive.read_only);
	assert_true(drive.direct);
	assert_int_equal(drive.controller, 3);
	assert_int_equal(drive.lun, 63);
	free(drive.path);
}

static void a_comma_in_a_path_is_doubled(void **state)
{
	struct vm_drive drive;

	assert_int_equal(options_parse_drive("a,,b,,,ro", &drive, error), 0);
	assert_string_equal(drive.path, "a,b,");
	assert_true(drive.read_only);
	free(drive.path);
	assert_int_equal(options_parse_drive("a,,", &drive, error), 0);
	assert_string_equal(drive.path, "a,");
	free(drive.path);
}

static void drives_are_disks_cds_or_devices(void **state)
{
	static const struct {
		const char *text, *path;
		enum vm_drive_kind kind;
		bool read_only;
	} good[] = {
		{ "a.vhdx", "a.vhdx", VM_DRIVE_DISK, false },
		{ "debian.ISO", "debian.ISO", VM_DRIVE_CD, true },
		{ "a.iso,type=disk", "a.iso", VM_DRIVE_DISK, false },
		{ "a.img,type=cd,format=raw", "a.img", VM_DRIVE_CD, true },
		{ ",type=cd", "", VM_DRIVE_CD, true },
		{ "/dev/sg0,type=passthrough,lun=3", "/dev/sg0", VM_DRIVE_PASSTHROUGH, false },
		{ "/dev/sr0,type=passthrough,ro", "/dev/sr0", VM_DRIVE_PASSTHROUGH, true },
		{ ".iso", ".iso", VM_DRIVE_DISK, false },
	};
	static const char *const bad[] = { ",type=passthrough", ",type=disk", "a,type=", "a,type=tape", "a,type",
					   "a.iso,format=vhd", "/dev/sg0,type=passthrough,direct",
					   "/dev/sg0,type=passthrough,format=raw" };
	struct vm_drive drive = { .path = NULL };

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(options_parse_drive(good[i].text, &drive, error), 0);
		assert_string_equal(drive.path, good[i].path);
		assert_int_equal(drive.kind, good[i].kind);
		assert_int_equal(drive.read_only, good[i].read_only);
		free(drive.path);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(options_parse_drive(bad[i], &drive, error), -LIS_INVALID);
}

static void a_wrong_drive_is_refused_with_what_there_is(void **state)
{
	static const char *const bad[] = { "", ",ro", "a,", "a,rw", "a,ro=1", "a,direct=0", "a,format",
					   "a,format=", "a,format=qcow2", "a,lun", "a,lun=", "a,lun=64",
					   "a,lun=-1", "a,controller=16", "a,controller=x", "a,=", "a,lun=1x" };
	struct vm_drive drive = { .path = NULL };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		error[0] = 0;
		if (options_parse_drive(bad[i], &drive, error) != -LIS_INVALID)
			fail_msg("taken: '%s'", bad[i]);
		assert_true(strncmp(error, "drive", 5) == 0);
		assert_null(drive.path);
	}
	assert_int_equal(options_parse_drive("a,format=qcow2", &drive, error), -LIS_INVALID);
	assert_string_equal(error, "drive: format 'qcow2': there are raw, vhd and vhdx");
}

/* ---- lis run ---- */

static struct run_options options;

/* Parses "run WORD...", words cut at spaces. */
static int run(const char *line)
{
	static char copy[1024];
	char *argv[64];
	int argc = 0;

	options_free_run(&options);
	snprintf(copy, sizeof(copy), "run %s", line);
	for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
		argv[argc++] = word;
	argv[argc] = NULL;
	error[0] = 0;
	return options_parse_run(argc, argv, &options, error);
}

static int free_options(void **state)
{
	options_free_run(&options);
	return 0;
}

static void a_card_is_a_connection_and_options(void **state)
{
	static const uint8_t mac[] = { 0x00, 0x15, 0x5d, 0xaB, 0x02, 0xff };
	struct vm_nic nic;

	assert_int_equal(options_parse_nic("user", &nic, error), 0);
	assert_int_equal(nic.kind, VM_NIC_USER);
	assert_false(nic.has_mac);
	assert_int_equal(nic.forward_count, 0);
	assert_int_equal(options_parse_nic("tap:lis0,channels=4,queues=16", &nic, error), 0);
	assert_int_equal(nic.kind, VM_NIC_TAP);
	assert_string_equal(nic.target, "lis0");
	assert_int_equal(nic.channels, 4);
	assert_int_equal(nic.queues, 16);
	free(nic.target);
	assert_int_equal(nic.vlan, 0);
	assert_int_equal(options_parse_nic("switch:lab,vlan=4094", &nic, error), 0);
	assert_int_equal(nic.vlan, 4094);
	free(nic.target);
	assert_int_equal(options_parse_nic("switch:lab,mac=00:15:5d:AB:02:ff", &nic, error), 0);
	assert_int_equal(nic.kind, VM_NIC_SWITCH);
	assert_string_equal(nic.target, "lab");
	assert_true(nic.has_mac);
	assert_memory_equal(nic.mac, mac, sizeof(mac));
	free(nic.target);
}

static void a_card_may_be_as_it_could_be_changed_to(void **state)
{
	struct vm_nic nic;

	assert_int_equal(options_parse_nic("user,link=down,speed=2500,mtu=9000", &nic, error), 0);
	assert_int_equal(nic.link, VM_LINK_DOWN);
	assert_int_equal(nic.speed_mbps, 2500);
	assert_int_equal(nic.mtu, 9000);
	assert_int_equal(options_parse_nic("user", &nic, error), 0);
	assert_int_equal(nic.link, VM_LINK_ANY);
	assert_int_equal(nic.speed_mbps, 0);
	assert_int_equal(nic.mtu, 0);
}

static void a_change_has_what_was_said_and_no_more(void **state)
{
	static const char *const bad[] = { "", "link", "link=", "up", "channels=2", "user", "mtu=1",
					   "speed=400001", "link=up,", "link=up,mac=1", "mac=" };
	static const uint8_t mac[] = { 2, 0, 0, 0, 0, 0xff };
	struct vm_nic nic;

	assert_int_equal(options_parse_nic_change("link=up", &nic, error), 0);
	assert_int_equal(nic.link, VM_LINK_UP);
	assert_false(nic.has_mac);
	assert_int_equal(nic.mtu, 0);
	assert_int_equal(nic.speed_mbps, 0);
	assert_int_equal(options_parse_nic_change("mtu=65521,mac=02:00:00:00:00:ff,speed=1", &nic, error), 0);
	assert_int_equal(nic.link, VM_LINK_ANY);
	assert_true(nic.has_mac);
	assert_memory_equal(nic.mac, mac, sizeof(mac));
	assert_int_equal(nic.mtu, 65521);
	assert_int_equal(nic.speed_mbps, 1);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (options_parse_nic_change(bad[i], &nic, error) != -LIS_INVALID)
			fail_msg("taken: '%s'", bad[i]);
}

static void forwards_have_addresses_or_not(void **state)
{
	struct vm_nic nic;

	assert_int_equal(options_parse_nic("user,restrict,hostfwd=tcp:2222:22,"
					   "hostfwd=udp:0.0.0.0:53:10.0.2.15:5353,hostfwd=tcp:[::1]:80:[fec0::2]:81,"
					   "hostfwd=tcp:1:10.0.2.16:2", &nic, error), 0);
	assert_true(nic.restricted);
	assert_int_equal(nic.forward_count, 4);
	assert_false(nic.forwards[0].udp);
	assert_string_equal(nic.forwards[0].host_address, "127.0.0.1");
	assert_int_equal(nic.forwards[0].host_port, 2222);
	assert_string_equal(nic.forwards[0].guest_address, "");
	assert_int_equal(nic.forwards[0].guest_port, 22);
	assert_true(nic.forwards[1].udp);
	assert_string_equal(nic.forwards[1].host_address, "0.0.0.0");
	assert_string_equal(nic.forwards[1].guest_address, "10.0.2.15");
	assert_int_equal(nic.forwards[1].guest_port, 5353);
	assert_string_equal(nic.forwards[2].host_address, "::1");
	assert_string_equal(nic.forwards[2].guest_address, "fec0::2");
	assert_int_equal(nic.forwards[2].guest_port, 81);
	assert_string_equal(nic.forwards[3].host_address, "127.0.0.1");
	assert_string_equal(nic.forwards[3].guest_address, "10.0.2.16");
}

static void a_wrong_card_is_refused_with_what_there_is(void **state)
{
	static const struct {
		const char *text, *says;
	} bad[] = {
		{ "", "user, tap:NAME or switch:NAME" },
		{ "users", "user, tap:NAME or switch:NAME" },
		{ "tap:", "a name of up to 15 characters" },
		{ "tap:sixteen-letters-", "a name of up to 15 characters" },
		{ "switch:a/b", "a name of up to 32 characters" },
		{ "user,mac=00:15:5d:01:02", "write it like" },
		{ "user,mac=00:15:5d:01:02:0g", "write it like" },
		{ "user,mac=01:15:5d:01:02:03", "multicast" },
		{ "user,channels=0", "from 1 to 64" },
		{ "user,mac=00:00:00:00:00:00", "no card's" },
		{ "user,link=on", "'on': there are up and down" },
		{ "user,speed=0", "from 1 to 400000" },
		{ "user,mtu=575", "from 576 to 65521" },
		{ "user,mtu", "there are mac=, link=, speed=, mtu=, channels=, hostfwd= and restrict" },
		{ "tap:a,restrict", "there are mac=, link=, speed=, mtu=, channels=, queues= and vlan=" },
		{ "tap:a,queues=17", "from 1 to 16" },
		{ "user,queues=2", "there are mac=" },
		{ "user,vlan", "there are mac=, link=, speed=, mtu=, channels=, hostfwd= and restrict" },
		{ "user,vlan=5", "user-mode NAT knows no VLANs" },
		{ "tap:a,vlan=4095", "from 1 to 4094" },
		{ "switch:a,vlan=0", "from 1 to 4094" },
		{ "switch:a,queues=2", "mtu=, channels=, vlan=" },
		{ "user,hostfwd=icmp:1:2", "hostfwd=tcp:2222:22" },
		{ "user,hostfwd=tcp:22", "from 1 to 65535" },
		{ "user,hostfwd=tcp:70000:22", "70000" },
		{ "user,hostfwd=tcp:1.2.3:22:22", "'1.2.3' is no address" },
		{ "user,hostfwd=tcp:[::1]22:22", "':' and a port follow" },
		{ "user,hostfwd=tcp:1:2:3", "'3' is too much" },
	};
	struct vm_nic nic;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (options_parse_nic(bad[i].text, &nic, error) != -LIS_INVALID)
			fail_msg("taken: '%s'", bad[i].text);
		if (!strstr(error, bad[i].says))
			fail_msg("'%s': %s", bad[i].text, error);
	}
}

static void a_kernel_is_all_it_takes(void **state)
{
	assert_int_equal(run("--kernel k"), 0);
	assert_string_equal(options.vm.kernel_path, "k");
	assert_null(options.vm.initrd_path);
	assert_string_equal(options.vm.cmdline, "console=ttyS0");
	assert_true(options.vm.memory_bytes == 512u << 20);
	assert_false(options.vm.huge_pages);
	assert_int_equal(options.vm.cpus, 1);
	assert_int_equal(options.vm.drive_count, 0);
	assert_int_equal(options.vm.controller_count, 1);
	assert_int_equal(options.vm.vmbus_version_max, 0);
	assert_int_equal(options.vm.on_crash, VM_STOP);
	assert_int_equal(options.vm.on_reboot, VM_RESET);
	assert_int_equal(options.console, CONSOLE_STDIO);
	assert_false(options.vm.start_paused);
	assert_true(strncmp(options.vm.name, "lis-", 4) == 0);
}

static void every_option_arrives(void **state)
{
	assert_int_equal(run("web --kernel k --initrd i --append a=b --memory 1G,huge --cpus 4 --topology 1:2:2 "
			     "--drive d --io-threads 3 --controllers 2 --vmbus-max 4.0 --console log:f --no-service timesync "
			     "--no-service heartbeat --on-crash pause --on-reboot stop --paused -v"), 0);
	assert_string_equal(options.vm.name, "web");
	assert_string_equal(options.vm.initrd_path, "i");
	assert_string_equal(options.vm.cmdline, "a=b");
	assert_true(options.vm.memory_bytes == 1u << 30);
	assert_true(options.vm.huge_pages);
	assert_int_equal(options.vm.cpus, 4);
	assert_int_equal(options.vm.io_threads, 3);
	assert_int_equal(options.vm.topology.cores_per_socket, 2);
	assert_int_equal(options.vm.drive_count, 1);
	assert_int_equal(options.vm.controller_count, 2);
	assert_int_equal(options.vm.vmbus_version_max, VMBUS_VERSION_WIN10);
	assert_int_equal(options.console, CONSOLE_LOG);
	assert_string_equal(options.console_path, "f");
	assert_true(options.vm.service_off[VM_SERVICE_TIMESYNC]);
	assert_true(options.vm.service_off[VM_SERVICE_HEARTBEAT]);
	assert_false(options.vm.service_off[VM_SERVICE_SHUTDOWN]);
	assert_int_equal(options.vm.on_crash, VM_PAUSE);
	assert_int_equal(options.vm.on_reboot, VM_STOP);
	assert_true(options.vm.start_paused);
	assert_true(options.verbose);
}

static void the_name_may_stand_anywhere(void **state)
{
	assert_int_equal(run("--kernel k web"), 0);
	assert_string_equal(options.vm.name, "web");
}

static void drives_take_the_lowest_free_lun_of_their_controller(void **state)
{
	assert_int_equal(run("--kernel k --drive a --drive b,lun=0 --drive c,controller=2 --drive d "
			     "--drive e,lun=1"), 0);
	assert_int_equal(options.vm.controller_count, 3);
	assert_int_equal(options.vm.drives[0].lun, 2);
	assert_int_equal(options.vm.drives[1].lun, 0);
	assert_int_equal(options.vm.drives[2].lun, 0);
	assert_int_equal(options.vm.drives[3].lun, 3);
	assert_int_equal(options.vm.drives[4].lun, 1);
}

static void two_drives_in_one_place_are_refused(void **state)
{
	assert_int_equal(run("--kernel k --drive a,lun=1 --drive b,lun=1"), -LIS_INVALID);
	assert_string_equal(error, "drive 'b': lun 1 of controller 0 is taken");
}

static void a_controller_that_is_not_there_is_refused(void **state)
{
	assert_int_equal(run("--kernel k --controllers 2 --drive a,controller=2"), -LIS_INVALID);
	assert_string_equal(error, "drive 'a': there is no controller 2, only 2 of them");
}

static void more_drives_than_a_controller_has_are_refused(void **state)
{
	char *argv[2 * 65 + 4] = { (char *)"run", (char *)"--kernel", (char *)"k" };
	int argc = 3;

	for (int i = 0; i < 65; i++) {
		argv[argc++] = (char *)"--drive";
		argv[argc++] = (char *)"d";
	}
	assert_int_equal(options_parse_run(argc, argv, &options, error), -LIS_INVALID);
	assert_string_equal(error, "drive 'd': controller 0 has 64 drives already");
}

static void the_topology_and_the_cpus_must_agree(void **state)
{
	assert_int_equal(run("--kernel k --topology 1:2:2"), 0);
	assert_int_equal(options.vm.cpus, 4);
	assert_int_equal(run("--kernel k --topology 1:2:2 --cpus 2"), -LIS_INVALID);
	assert_string_equal(error, "--topology describes 4 CPUs, --cpus 2");
}

static void without_a_console_the_kernel_is_not_told_of_one(void **state)
{
	assert_int_equal(run("--kernel k --console none"), 0);
	assert_string_equal(options.vm.cmdline, "");
}

static void wrong_options_are_named(void **state)
{
	static const struct {
		const char *line, *error;
	} wrong[] = {
		{ "", "no kernel given: add --kernel FILE (a Linux bzImage)" },
		{ "--kernel", "option '--kernel' needs a value" },
		{ "--frob", "unknown option '--frob' (see `lis run --help`)" },
		{ "-x", "unknown option '-x' (see `lis run --help`)" },
		{ "a b --kernel k", "'b': one name is enough" },
		{ "--kernel k --memory 12", "--memory '12': give whole MiB, at least 32" },
		{ "--kernel k --memory 65537K", "--memory '65537K': give whole MiB, at least 32" },
		{ "--kernel k --memory 1G,big", "--memory '1G,big': write it like 2G, or 2G,huge" },
		{ "--kernel k --memory ,huge", "size '': write it like 512M or 2G" },
		{ "--kernel k --memory lots", "size 'lots': write it like 512M or 2G" },
		{ "--kernel k --cpus 0", "--cpus '0': give a number from 1 to 240" },
		{ "--kernel k --cpus 300", "--cpus '300': give a number from 1 to 240" },
		{ "--kernel k --io-threads 0", "--io-threads '0': give a number from 1 to 240" },
		{ "--kernel k --cpus 2 --io-threads 3",
		  "--io-threads 3: with --cpus 2 there is no use for more than 2" },
		{ "--kernel k --controllers 17", "--controllers '17': give a number from 1 to 16" },
		{ "--kernel k --console tty", "--console 'tty': there are stdio, none and log:FILE" },
		{ "--kernel k --console log:", "--console 'log:': there are stdio, none and log:FILE" },
		{ "--kernel k --on-crash burn",
		  "--on-crash 'burn': there are stop, reset, pause and continue" },
		{ "--kernel k --on-reboot continue",
		  "--on-reboot 'continue': there are reset and stop" },
		{ "--kernel k --no-service kvp",
		  "--no-service 'kvp': there are heartbeat, shutdown and timesync" },
		{ "--kernel k --topology 0:1:1",
		  "--topology '0:1:1': write it like 1:2:1 (sockets:cores:threads)" },
		{ "--kernel k --topology 1:2",
		  "--topology '1:2': write it like 1:2:1 (sockets:cores:threads)" },
		{ "--kernel k --topology 1:2:3x",
		  "--topology '1:2:3x': write it like 1:2:1 (sockets:cores:threads)" },
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(run(wrong[i].line), -LIS_INVALID);
		assert_string_equal(error, wrong[i].error);
		options_free_run(&options);
	}
}

static void help_needs_nothing_else(void **state)
{
	assert_int_equal(run("--help"), 0);
	assert_true(options.help);
	assert_int_equal(run("-h"), 0);
	assert_true(options.help);
}

/* ---- small things ---- */

static void keys_behind_the_escape_key_mean_what_the_help_says(void **state)
{
	assert_int_equal(console_key('q'), CONSOLE_KEY_KILL);
	assert_int_equal(console_key('s'), CONSOLE_KEY_SHUTDOWN);
	assert_int_equal(console_key('b'), CONSOLE_KEY_BUTTON);
	assert_int_equal(console_key('r'), CONSOLE_KEY_RESET);
	assert_int_equal(console_key('p'), CONSOLE_KEY_PAUSE);
	assert_int_equal(console_key('n'), CONSOLE_KEY_NMI);
	assert_int_equal(console_key(CONSOLE_ESCAPE), CONSOLE_KEY_SEND);
	assert_int_equal(console_key('h'), CONSOLE_KEY_HELP);
	assert_int_equal(console_key('x'), CONSOLE_KEY_HELP);
	assert_int_equal(console_key(0), CONSOLE_KEY_HELP);
}

static void services_have_names(void **state)
{
	for (unsigned id = 0; id < VM_SERVICE_COUNT; id++)
		assert_int_equal(cli_vm_service_find(cli_vm_service_name((enum vm_service_id)id)), id);
	assert_int_equal(cli_vm_service_find("kvp"), VM_SERVICE_COUNT);
	assert_int_equal(cli_vm_service_find(""), VM_SERVICE_COUNT);
}

static void what_json_does_not_have_has_a_default(void **state)
{
	struct json_object *json = json_tokener_parse("{\"a\":{\"b\":{\"c\":7,\"t\":\"x\",\"f\":true}},"
						      "\"l\":[{\"n\":1},2]}");

	assert_int_equal(json_number(json, "a.b.c"), 7);
	assert_string_equal(json_text(json, "a.b.t", "?"), "x");
	assert_true(json_flag(json, "a.b.f"));
	assert_int_equal(json_count(json, "l"), 2);
	assert_int_equal(json_number(json_item(json, "l", 0), "n"), 1);
	assert_int_equal(json_number(json, "a.b.c.d"), 0);
	assert_int_equal(json_number(json, "a.b.t"), 0);
	assert_string_equal(json_text(json, "a.b.c", "?"), "?");
	assert_string_equal(json_text(json, "x.y", "?"), "?");
	assert_false(json_flag(json, "x"));
	assert_int_equal(json_count(json, "a"), 0);
	assert_null(json_item(json, "l", 2));
	assert_null(json_item(json, "a", 0));
	assert_string_equal(json_text(NULL, "a", "?"), "?");
	json_object_put(json);
}

int main(void)
{
#define RUN(name) cmocka_unit_test_teardown(name, free_options)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_have_units_and_count_mib_without),
		cmocka_unit_test(numbers_are_decimal_and_bounded),
		cmocka_unit_test(every_vmbus_version_has_its_name),
		cmocka_unit_test(a_drive_is_a_path_and_options),
		cmocka_unit_test(a_comma_in_a_path_is_doubled),
		cmocka_unit_test(drives_are_disks_cds_or_devices),
		cmocka_unit_test(a_wrong_drive_is_refused_with_what_there_is),
		cmocka_unit_test(a_card_is_a_connection_and_options),
		cmocka_unit_test(a_card_may_be_as_it_could_be_changed_to),
		cmocka_unit_test(a_change_has_what_was_said_and_no_more),
		cmocka_unit_test(forwards_have_addresses_or_not),
		cmocka_unit_test(a_wrong_card_is_refused_with_what_there_is),
		RUN(a_kernel_is_all_it_takes),
		RUN(every_option_arrives),
		RUN(the_name_may_stand_anywhere),
		RUN(drives_take_the_lowest_free_lun_of_their_controller),
		RUN(two_drives_in_one_place_are_refused),
		RUN(a_controller_that_is_not_there_is_refused),
		RUN(more_drives_than_a_controller_has_are_refused),
		RUN(the_topology_and_the_cpus_must_agree),
		RUN(without_a_console_the_kernel_is_not_told_of_one),
		RUN(wrong_options_are_named),
		RUN(help_needs_nothing_else),
		cmocka_unit_test(keys_behind_the_escape_key_mean_what_the_help_says),
		cmocka_unit_test(services_have_names),
		cmocka_unit_test(what_json_does_not_have_has_a_default),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
