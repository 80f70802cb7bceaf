// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * `lis capture`: makes a file of what passes a network card. The file is the user's own; the VM knows
 * nothing of it, and does not wait for it.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pcap/pcap.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/exit.h"
#include "cli/manage.h"
#include "cli/options.h"
#include "network/capture.h"

/* [policy] The VM wakes nobody: so long records wait for us, and a live view's steps are so far apart. */
#define LOOK_MS 10
#define NS_PER_SECOND 1000000000u

struct capture {
	const char *name, *card, *path;
	uint32_t count, seconds, snap_bytes; /* @count, @seconds: 0: no end */
	bool help;
	struct net_capture_reader *reader;
	int session;
	pcap_t *pcap;
	pcap_dumper_t *file;
	uint32_t captured;
	bool full; /* what reads standard output has enough */
};

/* ---- options ---- */

static int parse(const struct command *command, int argc, char **argv, struct capture *capture)
{
	static const struct option long_options[] = {
		{ "count", required_argument, NULL, 'c' },
		{ "seconds", required_argument, NULL, 's' },
		{ "snaplen", required_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	char error[OPTIONS_ERROR_BYTES];
	int option, err = 0;

	opterr = 0;
	while (!err && (option = getopt_long(argc, argv, ":h", long_options, NULL)) != -1) {
		if (option == 'c')
			err = options_parse_number("--count", optarg, 1, UINT32_MAX, &capture->count,
						   error);
		else if (option == 's')
			err = options_parse_number("--seconds", optarg, 1, 31536000, &capture->seconds,
						   error);
		else if (option == 'l')
			err = options_parse_number("--snaplen", optarg, NET_FRAME_BYTES_MIN,
						   NET_FRAME_BYTES_MAX, &capture->snap_bytes, error);
		else if (option == 'h')
			capture->help = true;
		else
			return complain_usage(command, option == ':' ? "option '%s' needs a value" :
								       "unknown option '%s'",
					      argv[optind - 1]);
	}
	if (err)
		return complain_usage(command, "%s", error);
	if (capture->help)
		return LIS_EXIT_OK;
	if (optind != argc - 3)
		return complain_usage(command, "a VM's name, a card (`lis status` shows them), a file");
	capture->name = argv[optind];
	capture->card = argv[optind + 1];
	capture->path = argv[optind + 2];
	if (strcmp(capture->path, "-") == 0 && isatty(STDOUT_FILENO))
		return complain_usage(command, "a capture is nothing for a terminal: `| tcpdump -r -`");
	return LIS_EXIT_OK;
}

/* ---- the VM ---- */

static int begin(struct capture *capture)
{
	struct json_object *arguments = json_object_new_object();
	char error[CONTROL_CLIENT_ERROR_BYTES];
	int fds[CONTROL_FDS_MAX], err;
	struct control_client *client;
	unsigned count;

	json_object_object_add(arguments, "card", json_object_new_string(capture->card));
	json_object_object_add(arguments, "snap_bytes", json_object_new_int64(capture->snap_bytes));
	if (manage_open(capture->name, &client)) {
		json_object_put(arguments);
		return LIS_EXIT_ERROR;
	}
	err = control_client_call(client, "capture", arguments, MANAGE_TIMEOUT_MS, NULL, error);
	count = err ? 0 : control_client_take_fds(client, fds);
	control_client_close(client);
	if (err)
		return complain("%s: capture: %s", capture->name, error);
	if (count != 2)
		return complain("%s: capture: the VM's answer is not complete", capture->name);
	capture->session = fds[1];
	if (net_capture_reader_open(fds[0], &capture->reader))
		return complain("%s: capture: the VM is of another version", capture->name);
	return LIS_EXIT_OK;
}

/* ---- the file ---- */

static int open_file(struct capture *capture)
{
	capture->pcap = pcap_open_dead_with_tstamp_precision(DLT_EN10MB, (int)capture->snap_bytes,
							     PCAP_TSTAMP_PRECISION_NANO);
	if (!capture->pcap)
		return complain("capture: out of memory");
	capture->file = pcap_dump_open(capture->pcap, capture->path);
	return capture->file ? LIS_EXIT_OK : complain("%s", pcap_geterr(capture->pcap));
}

static int file_error(struct capture *capture)
{
	capture->full = errno == EPIPE;
	return capture->full ? LIS_EXIT_OK : complain("%s: %s", capture->path, strerror(errno));
}

/* What is there, up to the count. An error of writing shows at the end of it. */
static int write_frames(struct capture *capture)
{
	uint32_t before = capture->captured;
	int err = 0;

	while (!capture->count || capture->captured < capture->count) {
		struct net_capture_record record;
		struct pcap_pkthdr header = { 0 };
		const uint8_t *data;

		err = net_capture_next(capture->reader, &record, &data);
		if (err)
			break;
		header.ts.tv_sec = (time_t)(record.time_ns / NS_PER_SECOND);
		header.ts.tv_usec = (suseconds_t)(record.time_ns % NS_PER_SECOND);
		header.caplen = record.bytes;
		header.len = record.frame_bytes;
		errno = 0;
		pcap_dump((u_char *)capture->file, &header, data);
		if (ferror(pcap_dump_file(capture->file)))
			return file_error(capture);
		capture->captured++;
	}
	if (err == -LIS_CORRUPT)
		return complain("%s: capture: what the VM says makes no sense", capture->name);
	if (capture->captured > before && pcap_dump_flush(capture->file))
		return file_error(capture);
	return LIS_EXIT_OK;
}

/* ---- until it ends ---- */

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int run(struct capture *capture, int signals)
{
	int64_t end_ms = now_ms() + capture->seconds * 1000ll;
	struct pollfd fds[] = { { .fd = signals, .events = POLLIN },
				{ .fd = capture->session, .events = POLLIN } };

	for (;;) {
		/* First, so that whatever there was until then is written. */
		bool end = poll(fds, 2, LOOK_MS) > 0 && (fds[0].revents || fds[1].revents);
		bool timed_out = capture->seconds && now_ms() >= end_ms;
		int status = write_frames(capture);

		if (status || capture->full || timed_out ||
		    (capture->count && capture->captured == capture->count))
			return status;
		if (end && !fds[0].revents)
			fprintf(stderr, "lis: %s: %s is gone\n", capture->name, capture->card);
		if (end)
			return LIS_EXIT_OK;
	}
}

static int watch_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

static int capture_frames(struct capture *capture)
{
	int signals, status = open_file(capture);

	if (status)
		return status;
	signals = watch_signals();
	if (signals < 0)
		return complain("capture: %s", strerror(errno));
	fprintf(stderr, "lis: capturing %s of %s; Ctrl-C ends it\n", capture->card, capture->name);
	status = run(capture, signals);
	close(signals);
	fprintf(stderr, "%" PRIu32 " frame%s captured\n%" PRIu64 " dropped, as they came too fast\n",
		capture->captured, capture->captured == 1 ? "" : "s",
		net_capture_dropped(capture->reader));
	return status;
}

int command_capture(const struct command *command, int argc, char **argv)
{
	struct capture capture = { .snap_bytes = NET_FRAME_BYTES_MAX, .session = -1 };
	int status = parse(command, argc, argv, &capture);

	if (capture.help)
		return show_help(command);
	status = status ? status : begin(&capture);
	status = status ? status : capture_frames(&capture);
	if (capture.file)
		pcap_dump_close(capture.file);
	if (capture.pcap)
		pcap_close(capture.pcap);
	net_capture_reader_close(capture.reader);
	if (capture.session >= 0)
		close(capture.session);
	return status;
}
