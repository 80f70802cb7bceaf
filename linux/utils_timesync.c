// SPDX-License-Identifier: GPL-2.0-only
/*
 * hv_utils: the host's clock, as an order to set the guest's and as a PTP clock named "hyperv".
 *
 * The kernel lets no module discipline its clock, only set it. So a small offset is worked off by
 * settings too small to matter: each turn measures anew how far away the host's clock is, and moves
 * the guest's a little. The number of turns is bounded by the offset at the beginning: whoever else
 * steers the clock is not fought for ever. Backwards these are steps as well, if tiny ones.
 *
 * The service's lock holds over all of struct utils_timesync. PTP readers take it too, so it is not
 * held while the PTP clock is registered or unregistered.
 */
#include <linux/math64.h>
#include <linux/module.h>
#include <linux/ptp_clock_kernel.h>
#include <linux/timekeeping.h>

#include <asm/mshyperv.h>

#include "linux/utils.h"
#include "services/timesync_guest.h"

/* [policy] Half a percent: ten times as fast as adjtime(3), for each move costs; yet small. */
#define SLEW_PERIOD_MS 100
#define SLEW_MOVE_NS (500 * NSEC_PER_USEC)

/* [policy] Less is not worth disturbing an NTP daemon: each setting makes the kernel forget it. */
#define SLEW_LEAVE_NS (1 * NSEC_PER_MSEC)

/* [policy] Further off than this while slewing, somebody else has set one of the clocks. */
#define SLEW_GIVE_UP_NS (2 * 100 * TIMESYNC_GUEST_STEP_100NS)

/* [policy] From 100 ms on the clock is stepped: slewing would take longer than 20 s. */
#define STEP_100NS 1000000u

/* [linux 7.3 drivers/hv/hv_util.c hv_implicit_sync] 5 s */
#define IMPLICIT_100NS 50000000ull

static bool timesync_implicit;
module_param(timesync_implicit, bool, 0644);
MODULE_PARM_DESC(timesync_implicit,
		 "Set the clock also by a mere sample, where the guest is 5 s or more behind");

struct utils_timesync {
	struct utils_service service;
	struct timesync_guest guest;
	struct delayed_work slew_work;
	u32 slews_left; /* 0: not slewing */
	struct ptp_clock_info ptp_info;
	struct ptp_clock *ptp; /* or NULL */
};

static struct utils_timesync *to_timesync(struct utils_service *service)
{
	return container_of(service, struct utils_timesync, service);
}

/* Clocks */

static struct timesync_guest_now read_clocks(void)
{
	u64 before_100ns, utc_ns, after_100ns;
	unsigned long flags;

	local_irq_save(flags);
	before_100ns = hv_read_reference_counter();
	utc_ns = ktime_get_real_ns();
	after_100ns = hv_read_reference_counter();
	local_irq_restore(flags);
	return (struct timesync_guest_now){
		.utc_100ns = div_u64(utc_ns, 100),
		.reference_100ns = before_100ns + (after_100ns - before_100ns) / 2,
	};
}

/* Returns 0, -EAGAIN (the host told nothing yet) or -ESTALE (too long ago). */
static int host_time_ns(const struct utils_timesync *timesync, u64 reference_100ns, s64 *out_ns)
{
	u64 utc_100ns;
	int error = timesync_guest_host_time(&timesync->guest, reference_100ns, &utc_100ns);

	if (error)
		return error == -LIS_AGAIN ? -EAGAIN : -ESTALE;
	*out_ns = (s64)utc_100ns * 100;
	return 0;
}

/* What to add to the guest's clock. Returns as host_time_ns(). */
static int measure_offset_ns(const struct utils_timesync *timesync, s64 *out_offset_ns)
{
	struct timesync_guest_now now = read_clocks();
	s64 host_ns;
	int error = host_time_ns(timesync, now.reference_100ns, &host_ns);

	if (!error)
		*out_offset_ns = host_ns - (s64)now.utc_100ns * 100;
	return error;
}

static int set_clock(s64 utc_ns)
{
	struct timespec64 time = ns_to_timespec64(utc_ns);

	return do_settimeofday64(&time);
}

/* Slewing */

/* Begin, or begin anew with what the offset is now. */
static void begin_slew(struct utils_timesync *timesync)
{
	s64 offset_ns;

	timesync->slews_left = 0;
	if (measure_offset_ns(timesync, &offset_ns) || abs(offset_ns) < SLEW_LEAVE_NS ||
	    abs(offset_ns) > SLEW_GIVE_UP_NS)
		return;
	/* A quarter more than it takes, for what drifts and gets lost on the way. */
	timesync->slews_left = 8 + (u32)div_u64(5 * abs(offset_ns), 4 * SLEW_MOVE_NS);
	schedule_delayed_work(&timesync->slew_work, 0);
}

/* One turn. Returns true if there is another one to come. */
static bool slew_once(struct utils_timesync *timesync)
{
	s64 offset_ns, move_ns;

	if (measure_offset_ns(timesync, &offset_ns) || abs(offset_ns) > SLEW_GIVE_UP_NS)
		return false;
	move_ns = clamp(offset_ns, -(s64)SLEW_MOVE_NS, (s64)SLEW_MOVE_NS);
	if (set_clock(ktime_get_real_ns() + move_ns))
		return false;
	return move_ns != offset_ns;
}

static void slew(struct work_struct *work)
{
	struct utils_timesync *timesync = container_of(work, struct utils_timesync, slew_work.work);

	mutex_lock(&timesync->service.lock);
	if (timesync->slews_left) {
		timesync->slews_left = slew_once(timesync) ? timesync->slews_left - 1 : 0;
		if (timesync->slews_left)
			schedule_delayed_work(&timesync->slew_work,
					      msecs_to_jiffies(SLEW_PERIOD_MS));
	}
	mutex_unlock(&timesync->service.lock);
}

/* What the host tells */

static void step(struct utils_timesync *timesync)
{
	struct device *dev = &timesync->service.device->dev;
	s64 host_ns;
	int error = host_time_ns(timesync, hv_read_reference_counter(), &host_ns);

	timesync->slews_left = 0;
	if (!error)
		error = set_clock(host_ns);
	if (error) {
		dev_warn_ratelimited(dev, "the clock cannot be set to the host's, error %d\n",
				     error);
		return;
	}
	dev_info_ratelimited(dev, "the clock was %lld ms off, and is set to the host's\n",
			     div_s64(timesync->guest.told.offset_100ns, 10000));
	/* For what went by between reading and setting, which is much only on a busy machine. */
	begin_slew(timesync);
}

static u32 timesync_receive(struct utils_service *service)
{
	struct utils_timesync *timesync = to_timesync(service);
	u64 behind_100ns = READ_ONCE(timesync_implicit) ? IMPLICIT_100NS : 0;
	struct timesync_guest_now now = read_clocks();

	timesync->guest.config.follow_behind_100ns = behind_100ns;
	return timesync_guest_receive(&timesync->guest, &now);
}

static void timesync_act(struct utils_service *service, u32 events)
{
	struct utils_timesync *timesync = to_timesync(service);

	if (!(events & TIMESYNC_GUEST_EVENT_TIME))
		return;
	switch (timesync->guest.told.action) {
	case TIMESYNC_GUEST_LEAVE:
		break;
	case TIMESYNC_GUEST_SLEW:
		begin_slew(timesync);
		break;
	case TIMESYNC_GUEST_STEP:
		step(timesync);
		break;
	}
}

/* The PTP clock */

static int ptp_gettimex(struct ptp_clock_info *info, struct timespec64 *time,
			struct ptp_system_timestamp *around)
{
	struct utils_timesync *timesync = container_of(info, struct utils_timesync, ptp_info);
	u64 reference_100ns;
	s64 host_ns;
	int error;

	mutex_lock(&timesync->service.lock);
	ptp_read_system_prets(around);
	reference_100ns = hv_read_reference_counter();
	ptp_read_system_postts(around);
	error = host_time_ns(timesync, reference_100ns, &host_ns);
	mutex_unlock(&timesync->service.lock);
	if (!error)
		*time = ns_to_timespec64(host_ns);
	return error;
}

/* It is the host's. PTP's core calls these without asking whether they are there. */

static int ptp_settime(struct ptp_clock_info *info, const struct timespec64 *time)
{
	return -EOPNOTSUPP;
}

static int ptp_adjtime(struct ptp_clock_info *info, s64 delta_ns)
{
	return -EOPNOTSUPP;
}

static int ptp_adjfine(struct ptp_clock_info *info, long scaled_ppm)
{
	return -EOPNOTSUPP;
}

static int ptp_enable(struct ptp_clock_info *info, struct ptp_clock_request *request, int on)
{
	return -EOPNOTSUPP;
}

/* Without it the clock still is set as the host orders. */
static void timesync_opened(struct utils_service *service)
{
	struct utils_timesync *timesync = to_timesync(service);
	struct device *dev = &service->device->dev;
	struct ptp_clock *ptp;

	/* udev's rules and configurations of NTP daemons know it by this name. */
	timesync->ptp_info = (struct ptp_clock_info){
		.owner = THIS_MODULE,
		.name = "hyperv",
		.gettimex64 = ptp_gettimex,
		.settime64 = ptp_settime,
		.adjtime = ptp_adjtime,
		.adjfine = ptp_adjfine,
		.enable = ptp_enable,
	};
	ptp = ptp_clock_register(&timesync->ptp_info, dev);
	if (IS_ERR(ptp))
		dev_warn(dev, "there will be no PTP clock, error %ld\n", PTR_ERR(ptp));
	else
		timesync->ptp = ptp; /* NULL in a kernel without PTP */
}

/* From probe to remove */

static int timesync_init(struct utils_service *service)
{
	const u32 counter = HV_MSR_TIME_REF_COUNT_AVAILABLE | HV_MSR_REFERENCE_TSC_AVAILABLE;
	static const struct timesync_guest_config config = { .step_100ns = STEP_100NS };
	struct utils_timesync *timesync = to_timesync(service);
	struct lis_channel *channel = service->device->channel;

	if (!(ms_hyperv.features & counter)) {
		dev_err(&service->device->dev, "this host has no reference counter\n");
		return -ENODEV;
	}
	INIT_DELAYED_WORK(&timesync->slew_work, slew);
	timesync_guest_init(&timesync->guest, &config, &channel->to_host, &channel->from_host);
	return 0;
}

static void stop_slewing(struct utils_service *service)
{
	struct utils_timesync *timesync = to_timesync(service);

	mutex_lock(&service->lock);
	timesync->slews_left = 0;
	mutex_unlock(&service->lock);
	cancel_delayed_work_sync(&timesync->slew_work);
}

static void timesync_fini(struct utils_service *service)
{
	struct utils_timesync *timesync = to_timesync(service);

	if (timesync->ptp)
		ptp_clock_unregister(timesync->ptp);
	stop_slewing(service);
}

const struct utils_service_kind utils_timesync = {
	.bytes = sizeof(struct utils_timesync),
	.init = timesync_init,
	.opened = timesync_opened,
	.receive = timesync_receive,
	.act = timesync_act,
	.suspend = stop_slewing,
	.fini = timesync_fini,
};
