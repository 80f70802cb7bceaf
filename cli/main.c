// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* `lis`: finds the command and hands over. */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/exit.h"
#include "io/log.h"

#define NAME_ONLY(verb, what) \
	"usage: lis " verb " NAME\n\n" what "\n"

static const struct command commands[] = {
	{ "run", command_run, "run a virtual machine in this terminal",
	  "usage: lis run [NAME] --kernel FILE [OPTION...]\n"
	  "\n"
	  "Runs a virtual machine until it ends, with its serial console in this terminal.\n"
	  "\n"
	  "  --kernel FILE       Linux kernel (bzImage)\n"
	  "  --initrd FILE       initial RAM disk\n"
	  "  --append TEXT       kernel command line (default: console=ttyS0)\n"
	  "  --memory SIZE[,huge]\n"
	  "                      512M (default), 2G, ...; huge: in huge pages, all of it from the start\n"
	  "  --cpus N            virtual processors (default: 1)\n"
	  "  --io-threads N      threads that serve disks and network cards, at most one for each virtual\n"
	  "                      processor (default: so many, but one fewer than this machine has)\n"
	  "  --topology S:C:T    sockets, cores for each, threads for each (default: like the host)\n"
	  "  --drive PATH[,type=disk|cd|passthrough][,format=raw|vhd|vhdx][,ro][,direct]\n"
	  "          [,controller=N][,lun=N]\n"
	  "                      a disk, a CD/DVD drive with an ISO image (PATH.iso; none: ',type=cd')\n"
	  "                      or a SCSI device of this host; may be repeated; a comma in PATH is\n"
	  "                      written ',,'\n"
	  "  --nic user[,hostfwd=tcp|udp:[ADDRESS:]PORT:[ADDRESS:]PORT]...[,restrict]\n"
	  "  --nic tap:NAME[,queues=N][,vlan=ID]\n"
	  "  --nic switch:NAME[,vlan=ID]\n"
	  "                      a network card, all with [,mac=M][,channels=N][,link=up|down][,mtu=N]\n"
	  "                      [,speed=N]; may be repeated. user needs no privileges; a forward\n"
	  "                      without ADDRESS is for this machine only\n"
	  "  --controllers N     SCSI controllers (default: as many as the drives need)\n"
	  "  --console WHERE     stdio (default), none, log:FILE\n"
	  "  --no-service NAME   do not offer heartbeat, shutdown or timesync; may be repeated\n"
	  "  --on-crash WHAT     stop (default), reset, pause, continue\n"
	  "  --on-reboot WHAT    reset (default), stop\n"
	  "  --vmbus-max M.N     newest VMBus version to agree to (default: 6.0)\n"
	  "  --paused            do not start the processors before `lis resume`\n"
	  "  -v, --verbose       say more about what happens\n"
	  "\n"
	  "At a terminal, Ctrl-] is the escape key; Ctrl-] h lists what may follow it. SIGTERM and\n"
	  "SIGINT ask the guest to shut down, a second one kills it.\n"
	  "\n"
	  "Exit status: 0 the guest powered off, 1 error, 2 wrong usage, 3 the guest crashed,\n"
	  "4 killed, 5 the guest rebooted (with --on-reboot stop).\n" },
	{ "list", command_list, "list running virtual machines",
	  "usage: lis list [--json]\n\nLists the virtual machines that run on this machine for this user.\n" },
	{ "status", command_status, "show what a virtual machine does",
	  "usage: lis status NAME [--json]\n\nShows state, devices, drives, network cards and services.\n" },
	{ "shutdown", command_shutdown, "ask the guest to power off",
	  "usage: lis shutdown NAME [--wait] [--timeout SECONDS] [--force] [--button]\n"
	  "\n"
	  "Asks the guest's shutdown driver to power off and reports its answer.\n"
	  "\n"
	  "  --wait              wait until the virtual machine has ended\n"
	  "  --timeout SECONDS   how long to wait, for the answer (default: 10) or the end (default:\n"
	  "                      for ever); the exit status is 1 when the time is over\n"
	  "  --force             tell the guest not to let programs object\n"
	  "  --button            press the ACPI power button instead, for guests without the driver\n" },
	{ "reboot", command_shutdown, "ask the guest to reboot",
	  "usage: lis reboot NAME [--timeout SECONDS] [--force]\n"
	  "\nAsks the guest's shutdown driver to restart and reports its answer.\n" },
	{ "hibernate", command_shutdown, "ask the guest to hibernate",
	  "usage: lis hibernate NAME [--wait] [--timeout SECONDS] [--force]\n"
	  "\nAsks the guest's shutdown driver to hibernate and reports its answer.\n" },
	{ "reset", command_simple, "press the reset button",
	  NAME_ONLY("reset", "Resets the machine at once; the guest is not asked.") },
	{ "kill", command_simple, "end it at once",
	  NAME_ONLY("kill", "Ends the virtual machine at once; the guest is not asked.") },
	{ "pause", command_simple, "stop the processors",
	  NAME_ONLY("pause", "Stops processors and clock of the guest.") },
	{ "resume", command_simple, "let a paused one go on",
	  NAME_ONLY("resume", "Lets a paused guest go on, and has it set its clock.") },
	{ "nmi", command_simple, "send a non-maskable interrupt",
	  NAME_ONLY("nmi", "Sends a non-maskable interrupt to processor 0.") },
	{ "sync", command_simple, "have the guest set its clock",
	  NAME_ONLY("sync", "Has the guest set its clock to the host's.") },
	{ "service", command_service, "switch a service on or off",
	  "usage: lis service NAME enable|disable SERVICE\n"
	  "\nOffers a service to the running guest or takes it away: heartbeat, shutdown, timesync.\n" },
	{ "drive", command_drive, "add, remove or change a drive",
	  "usage: lis drive NAME add SPEC\n"
	  "       lis drive NAME remove DRIVE\n"
	  "       lis drive NAME insert DRIVE ISO\n"
	  "       lis drive NAME eject DRIVE [--force]\n"
	  "       lis drive NAME resize DRIVE SIZE|+SIZE [--shrink]\n"
	  "       lis drive NAME checkpoint [DRIVE [--child PATH]]\n"
	  "       lis drive NAME merge DRIVE [--quiet]\n"
	  "\n"
	  "Works on the drives of a running virtual machine; `lis status` shows them.\n"
	  "\n"
	  "  add      one more, SPEC being what --drive of `lis run` takes; writes its name, as drive1\n"
	  "  remove   takes it from the guest, which is not asked, and closes its image\n"
	  "  insert   puts an ISO image into an empty CD drive\n"
	  "  eject    takes it out; a guest that has it mounted is asked, and --force does not wait for it\n"
	  "  resize   makes the disk longer, or with --shrink shorter; the guest is told\n"
	  "  checkpoint\n"
	  "           leaves the image as it is, and goes on in a differencing child; without DRIVE\n"
	  "           all that are not read-only, at one instant. Writes drives and their children:\n"
	  "           these are what the next `lis run` has to be given\n"
	  "  merge    merges the drive's child into its parent, goes on on that, and removes the child; one\n"
	  "           level at a time. Writes the drive and the image it is on. Ctrl-C leaves it on the child\n" },
	{ "nic", command_nic, "add, remove or change a network card",
	  "usage: lis nic NAME add SPEC\n"
	  "       lis nic NAME remove CARD\n"
	  "       lis nic NAME set CARD [mac=M] [link=up|down] [speed=N] [mtu=N]\n"
	  "                             [hostfwd=tcp|udp:[ADDRESS:]PORT:[ADDRESS:]PORT]...\n"
	  "                             [no-hostfwd=tcp|udp:[ADDRESS:]PORT]...\n"
	  "\n"
	  "Works on the network cards of a running virtual machine; `lis status` shows them.\n"
	  "\n"
	  "  add      one more, SPEC being what --nic of `lis run` takes; writes its name, as nic1\n"
	  "  remove   takes it from the guest and lets go of what it was connected to\n"
	  "  set      tells the guest that the cable is in or out, or how fast it is (in Mbit/s, and\n"
	  "           only told). With mac= and mtu= (the longest the guest may choose) the guest sees\n"
	  "           the card go and come back. hostfwd= forwards one more port to a guest on user-mode\n"
	  "           NAT, no-hostfwd= one less\n" },
	{ "capture", command_capture, "record what passes a network card",
	  "usage: lis capture NAME CARD FILE [--count N] [--seconds S] [--snaplen BYTES]\n"
	  "\n"
	  "Records the frames that a network card sends and receives, until Ctrl-C, in a file that\n"
	  "Wireshark and tcpdump read. CARD is nic0, nic1, ... as `lis status` shows it.\n"
	  "\n"
	  "  FILE               replaced if it exists; - is standard output, for `| tcpdump -r -`\n"
	  "  --count N          end after N frames\n"
	  "  --seconds S        end after so long\n"
	  "  --snaplen BYTES    record no more than the first BYTES of each frame\n"
	  "\n"
	  "Checksums that the guest left to the card are filled in; large segments stay large. The guest\n"
	  "is not slowed: frames that come too fast are dropped from the capture, and counted.\n" },
	{ "wait", command_wait, "wait for the end of a virtual machine",
	  "usage: lis wait NAME [--timeout SECONDS]\n"
	  "\nWaits until the virtual machine ends; the exit status is that of its `lis run`.\n" },
	{ "disk", command_disk, "make, look at, check, convert, resize and merge disk images",
	  "usage: lis disk create PATH --size N [--format FORMAT] [--fixed] [--block-size N]\n"
	  "                       [--sector-size 512|4096] [--force]\n"
	  "       lis disk info PATH [--json]\n"
	  "       lis disk check PATH [--repair] [--json]\n"
	  "       lis disk convert FROM TO [--format FORMAT] [--fixed] [--block-size N] [--force] [--quiet]\n"
	  "       lis disk resize PATH SIZE|+SIZE [--shrink]\n"
	  "       lis disk compact PATH [--quiet]\n"
	  "       lis disk diff PARENT CHILD [--block-size N] [--force]\n"
	  "       lis disk merge CHILD [--into BASE] [--keep]\n"
	  "       lis disk map PATH\n"
	  "\n"
	  "Works on disk images, whether Hyper-V, Azure, qemu-img or lis made them.\n"
	  "\n"
	  "  create   makes an empty disk\n"
	  "  info     says what an image is like\n"
	  "  check    looks for damage of a VHD or VHDX and of its parents, and says all it finds\n"
	  "  convert  copies a disk to a new image; what is zero takes no room. With --force also onto a block\n"
	  "           device or an NBD server's export (nbd://HOST/EXPORT, nbd+unix:///?socket=PATH, nbds://)\n"
	  "           that is large enough, of which what is behind the end of the disk stays\n"
	  "  resize   makes a disk longer, or shorter: what is behind its new end is lost then\n"
	  "  compact  gives back the room in a file that its disk does not need\n"
	  "  diff     makes a differencing image: what is not written to it shows PARENT, of any VHD or\n"
	  "           VHDX; it is of PARENT's format and size. Nobody may write to PARENT from then on\n"
	  "  merge    writes what a differencing image has into its parent and removes it. Interrupted it\n"
	  "           can be run again. Other children of that parent, which lis cannot know of, are no\n"
	  "           longer what they were: of VHDX they are refused from then on, of VHD they are not\n"
	  "  map      draws where there is data\n"
	  "\n"
	  "  --size N         20G, 512M, ...; a bare number counts MiB\n"
	  "  --format FORMAT  raw, vhd or vhdx. Without it: of a new image, the ending of its name\n"
	  "                   says so; of an existing one, its contents do\n"
	  "  --fixed          not growing: as large as the disk from the start\n"
	  "  --sector-size N  what guests see as the sector; 4096 for VHDX only\n"
	  "  --block-size N   unit in which it grows, a power of two: of VHDX from 1M to 256M\n"
	  "                   (default: 2M, above 1T 32M), of VHD from 512K (default: 2M)\n"
	  "  --force          replace PATH or TO if it exists, write over what is on a device or a server\n"
	  "  --into BASE      merge CHILD and all between into BASE, further down, not one level only\n"
	  "  --keep           leave CHILD, empty, instead of removing it\n"
	  "  --repair         let check put right what can be without a loss\n"
	  "  --shrink         let resize cut off what is behind the new end\n"
	  "  --json           for programs\n"
	  "  --quiet          no progress bar on the terminal\n"
	  "\n"
	  "An image that somebody writes to is refused; an image that is not finished is not seen.\n"
	  "\n"
	  "Exit status: 0 done, 1 error, 2 wrong usage, 3 damaged (check).\n" },
	{ NULL, NULL, NULL, NULL },
};

int complain(const char *format, ...)
{
	va_list args;

	fputs("lis: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return LIS_EXIT_ERROR;
}

int complain_usage(const struct command *command, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "lis: %s: ", command->name);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, " (see `lis %s --help`)\n", command->name);
	return LIS_EXIT_USAGE;
}

int show_help(const struct command *command)
{
	fputs(command->help, stdout);
	return LIS_EXIT_OK;
}

static int show_overview(FILE *to)
{
	fputs("usage: lis COMMAND [ARGUMENT...]\n"
	      "\n"
	      "Runs Hyper-V guests on Linux/KVM.\n"
	      "\n", to);
	for (const struct command *command = commands; command->name; command++)
		fprintf(to, "  %-10s %s\n", command->name, command->summary);
	fputs("\n`lis COMMAND --help` says more; `lis --version` says which lis this is.\n", to);
	return to == stdout ? LIS_EXIT_OK : LIS_EXIT_USAGE;
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";

	signal(SIGPIPE, SIG_IGN);
	log_init(OS_LOG_WARNING, "lis: ", false);
	if (!*name)
		return show_overview(stderr);
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0)
		return show_overview(stdout);
	if (strcmp(name, "--version") == 0) {
		puts("lis " LIS_VERSION " (OpenLIS)");
		return LIS_EXIT_OK;
	}
	for (const struct command *command = commands; command->name; command++)
		if (strcmp(command->name, name) == 0)
			return command->run(command, argc - 1, argv + 1);
	complain("'%s': unknown command (see `lis --help`)", name);
	return LIS_EXIT_USAGE;
}
